"""The HTML of the report of an evaluation."""

from typing import Final

__all__ = ["ACCEPTED", "PAGE", "STYLE"]

STYLE: Final = """body { font: 15px/1.5 system-ui, sans-serif; color: #1d2733; max-width: 1120px;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; }
table + table { margin-top: 1rem; }
td, th { padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #e3e8ee; text-align: left;
  vertical-align: top; font-variant-numeric: tabular-nums; }
.names td:first-child { color: #5b6b7c; white-space: nowrap; }
.worst td:last-child { overflow-wrap: anywhere; white-space: pre-wrap; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); }
figure { margin: .5rem 0; } figure svg { width: 100%; height: auto; }
footer { color: #5b6b7c; margin-top: 2rem; }"""

PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
{style}
</style>
<h1>{title}</h1>
<table class="names">
{facts}
</table>
<h2>Quality (95 % intervals)</h2>
<table class="names">
{headline}
</table>
{accepted}
<h2>By label</h2>
<table>
<tr><th>label<th>texts<th>predicted<th>precision<th>recall<th>F1<th>AP<th>AUROC</tr>
{labels}
</table>
<h2>Plots</h2>
<div class="figures">
{figures}
</div>
{confusion}
<h2>Best thresholds on these texts</h2>
<p>Chosen with these texts and measured on them: without interval or guarantee, too good.</p>
<table class="names">
{optima}
</table>
<h2>Misclassified with the highest confidence</h2>
<table class="worst">
<tr><th>line<th>confidence<th>predicted<th>correct<th>text</tr>
{worst}
</table>
<footer>streamlabel {version}</footer>
<script type="application/json" id="numbers">{data}</script>
</html>
"""

ACCEPTED: Final = """<h2>Accepted with the thresholds in force (95 % intervals)</h2>
{lines}
<table>
<tr>{heads}</tr>
{labels}
</table>
{answers}<h2>By slice</h2>
<table>
<tr><th>field<th>value<th>texts<th>accepted<th>wrong of accepted<th>right<th>confidence</tr>
{slices}
</table>"""
