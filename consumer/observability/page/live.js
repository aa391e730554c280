"use strict";
// Shows what /events says, once a second. Everything is set as text, never as markup.
const at = (id) => document.getElementById(id);
const made = (name, text, kind) => {
  const element = document.createElement(name);
  element.textContent = text;
  if (kind) element.className = kind;
  return element;
};
const row = (...cells) => {
  const line = document.createElement("tr");
  line.append(...cells.map((cell) => made("td", cell)));
  return line;
};
const fill = (id, children, none) => at(id).replaceChildren(...(children.length || !none ? children : [none]));
const pairs = (entries) => entries.flatMap(([name, value]) => [made("dt", name), made("dd", value)]);
const number = (value) => value.toLocaleString("en", { maximumFractionDigits: 1 });
const ago = (seconds) => (seconds < 120 ? `${Math.round(seconds)} s ago` : `${Math.round(seconds / 60)} min ago`);

function show(now) {
  at("about").textContent = `${now.version}, group ${now.group}`;
  fill("state", now.state.map((check) => made("li", `${check.ok ? "✓" : "✗"} ${check.name}: ${check.detail}`, check.ok ? "good" : "bad")));
  fill("rates", pairs(Object.entries(now.rates).map(([name, value]) => [name.replaceAll("_", " "), `${number(value)} /s`]).concat([["in flight", number(now.in_flight)]])));
  fill("lag", now.lag.map((each) => row(each.partition, number(each.records), each.seconds === null ? "–" : number(each.seconds))), row("no partition", "", ""));
  fill("errors", now.errors.map((each) => row(each.reason, number(each.records), ago(each.ago_s))), row("none", "", ""));
  fill("reviews", now.reviews.map((each) => row(each.reason, number(each.records))), row("none", ""));
  fill("drift", now.drift.map((each) => row(each.feature, number(each.effect))), row(now.watches_drift ? "no window yet" : "not watched: no calibration", ""));
  fill("topics", pairs(Object.entries(now.topics).map(([use, names]) => [use, names.join(", ")])));
  fill("models", now.deployments.flatMap((each) => {
    const list = document.createElement("dl");
    list.append(...pairs([["model", each.model], ...Object.entries(each.thresholds).map(([label, value]) => [label, value > 1 ? "always reviewed" : `from ${value.toFixed(3)}`])]));
    return [made("h3", each.id), list];
  }));
}

const events = new EventSource("events");
events.onmessage = (event) => {
  show(JSON.parse(event.data));
  at("connection").textContent = `live, ${new Date().toLocaleTimeString()}`;
};
events.onerror = () => { at("connection").textContent = "no answer; what is shown is old"; };
