{{- define "streamlabel.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "streamlabel.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "streamlabel.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "streamlabel.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "streamlabel.selector" -}}
app.kubernetes.io/name: {{ include "streamlabel.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "streamlabel.labels" -}}
{{ include "streamlabel.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: streamlabel
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "streamlabel.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "streamlabel.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "streamlabel.image" -}}
{{- $image := .Values.image -}}
{{- $repository := required "image.repository: set it to where you pushed the image" $image.repository -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- else if $image.allowTag -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion $image.tag) -}}
{{- else -}}
{{- fail "image.digest: set it to the digest that the push printed (sha256:...), or image.allowTag: true to run by tag" -}}
{{- end -}}
{{- end -}}

{{/* Names of the user's secrets: a KafkaUser has a secret of the same name. */}}
{{- define "streamlabel.kafkaUser" -}}
{{- include "streamlabel.fullname" . -}}
{{- end -}}

{{- define "streamlabel.ownsUser" -}}
{{- if and .Values.strimzi.enabled .Values.strimzi.user.create -}}true{{- end -}}
{{- end -}}

{{/* The configuration: what follows from other values, under what the user wrote. */}}
{{- define "streamlabel.config" -}}
{{- $derived := dict "logging" (dict "format" "json") -}}
{{- if include "streamlabel.ownsUser" . -}}
{{- $security := dict "ca_file" "/etc/streamlabel/kafka/ca.crt" -}}
{{- if eq .Values.strimzi.user.authentication "tls" -}}
{{- $_ := set $security "protocol" "SSL" -}}
{{- $_ := set $security "cert_file" "/etc/streamlabel/kafka/user.crt" -}}
{{- $_ := set $security "key_file" "/etc/streamlabel/kafka/user.key" -}}
{{- else -}}
{{- $_ := set $security "protocol" "SASL_SSL" -}}
{{- $_ := set $security "sasl_mechanism" "SCRAM-SHA-512" -}}
{{- $_ := set $security "username" (include "streamlabel.kafkaUser" .) -}}
{{- $_ := set $security "password_file" "/etc/streamlabel/secrets/kafka-password" -}}
{{- end -}}
{{- $_ := set $derived "kafka" (dict "security" $security) -}}
{{- end -}}
{{- mergeOverwrite $derived (deepCopy .Values.config) | toYaml -}}
{{- end -}}

{{/* Names of all input topics, as a JSON list, without those of patterns; the defaults are those of the service. */}}
{{- define "streamlabel.inputs" -}}
{{- $names := list -}}
{{- range (dig "input" "topics" list .Values.config) -}}{{- if .name -}}{{- $names = append $names .name -}}{{- end -}}{{- end -}}
{{- if not (dig "input" "topics" list .Values.config) -}}{{- $names = list (dig "input" "topic" "texts" .Values.config) -}}{{- end -}}
{{- $names | toJson -}}
{{- end -}}

{{/* Names of all topics that the service writes. */}}
{{- define "streamlabel.outputs" -}}
{{- $config := .Values.config -}}
{{- $labels := dig "output" "labels_topic" "labels" $config -}}
{{- $review := dig "output" "review_topic" "review" $config -}}
{{- $names := list (dig "output" "dead_letter_topic" "dead-letters" $config) -}}
{{- range $task := values (dig "tasks" dict $config) -}}
{{- $names = append $names (dig "output" "labels_topic" $labels $task) -}}
{{- $names = append $names (dig "output" "review_topic" $review $task) -}}
{{- end -}}
{{- if not (dig "tasks" dict $config) -}}{{- $names = concat $names (list $labels $review) -}}{{- end -}}
{{- if hasKey $config "shadow" -}}{{- $names = append $names (dig "shadow" "topic" "shadow" $config) -}}{{- end -}}
{{- $names | uniq | sortAlpha | toJson -}}
{{- end -}}

{{- define "streamlabel.acceleratorResource" -}}
{{- $kind := .Values.accelerator.kind -}}
{{- if .Values.accelerator.resourceName -}}
{{- .Values.accelerator.resourceName -}}
{{- else if eq $kind "nvidia" -}}nvidia.com/gpu
{{- else if eq $kind "ascend" -}}huawei.com/Ascend910
{{- end -}}
{{- end -}}

{{- define "streamlabel.resources" -}}
{{- $resources := deepCopy .Values.resources -}}
{{- with include "streamlabel.acceleratorResource" . -}}
{{- $limits := default dict $resources.limits -}}
{{- $_ := set $limits . $.Values.accelerator.count -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{- define "streamlabel.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.runAsUser }}
runAsGroup: {{ .Values.runAsUser }}
fsGroup: {{ .Values.runAsUser }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- $groups := .Values.supplementalGroups -}}
{{- if and (not $groups) (eq .Values.accelerator.kind "ascend") -}}{{- $groups = list 1000 -}}{{- end }}
{{- with $groups }}
supplementalGroups: {{ toJson . }}
{{- end }}
{{- end -}}

{{- define "streamlabel.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Environment of every container. */}}
{{- define "streamlabel.env" -}}
- {name: HOME, value: /tmp}
- {name: HF_HUB_OFFLINE, value: "1"}
{{- if or .secrets (include "streamlabel.ownsPassword" .root) }}
- {name: STREAMLABEL_SECRETS_DIR, value: /etc/streamlabel/secrets}
{{- end }}
{{- with .root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "streamlabel.ownsPassword" -}}
{{- if and (include "streamlabel.ownsUser" .) (eq .Values.strimzi.user.authentication "scram-sha-512") -}}true{{- end -}}
{{- end -}}

{{- define "streamlabel.mounts" -}}
- {name: config, mountPath: /etc/streamlabel/config.yaml, subPath: config.yaml, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if or .secrets (include "streamlabel.ownsPassword" .root) }}
- {name: secrets, mountPath: /etc/streamlabel/secrets, readOnly: true}
{{- end }}
{{- if or .root.Values.tls (include "streamlabel.ownsUser" .root) }}
- {name: kafka, mountPath: /etc/streamlabel/kafka, readOnly: true}
{{- end }}
{{- if .root.Values.oauthToken.enabled }}
- {name: token, mountPath: /var/run/streamlabel, readOnly: true}
{{- end }}
{{- if .root.Values.files }}
- {name: files, mountPath: /etc/streamlabel/files, readOnly: true}
{{- end }}
{{- end -}}

{{- define "streamlabel.volumes" -}}
- name: config
  configMap: {name: {{ .configMap }}}
- name: tmp
  emptyDir: {}
{{- $owned := include "streamlabel.ownsPassword" .root }}
{{- if or .secrets $owned }}
- name: secrets
  projected:
    sources:
      {{- range .secrets }}
      - secret: {{ toJson . }}
      {{- end }}
      {{- if $owned }}
      - secret:
          name: {{ include "streamlabel.kafkaUser" .root }}
          items: [{key: password, path: kafka-password}]
      {{- end }}
{{- end }}
{{- $user := include "streamlabel.ownsUser" .root }}
{{- if or .root.Values.tls $user }}
- name: kafka
  projected:
    sources:
      {{- range .root.Values.tls }}
      - secret: {{ toJson . }}
      {{- end }}
      {{- if $user }}
      - secret:
          name: {{ .root.Values.strimzi.cluster }}-cluster-ca-cert
          items: [{key: ca.crt, path: ca.crt}]
      {{- if eq .root.Values.strimzi.user.authentication "tls" }}
      - secret:
          name: {{ include "streamlabel.kafkaUser" .root }}
          items: [{key: user.crt, path: user.crt}, {key: user.key, path: user.key}]
      {{- end }}
      {{- end }}
{{- end }}
{{- if .root.Values.oauthToken.enabled }}
- name: token
  projected:
    sources:
      - serviceAccountToken:
          path: token
          audience: {{ .root.Values.oauthToken.audience | quote }}
          expirationSeconds: {{ .root.Values.oauthToken.expirationSeconds }}
{{- end }}
{{- with .root.Values.files }}
- name: files
  projected:
    sources:
      {{- range . }}
      - configMap: {{ toJson . }}
      {{- end }}
{{- end }}
{{- end -}}

{{- define "streamlabel.modelMount" -}}
{{- with .Values.model }}
{{- if .existingClaim }}
- name: model
  mountPath: {{ .mountPath }}
  readOnly: true
  {{- with .subPath }}
  subPath: {{ . }}
  {{- end }}
{{- end }}
{{- end }}
{{- if .Values.sharedMemory }}
- {name: shm, mountPath: /dev/shm}
{{- end }}
{{- end -}}

{{- define "streamlabel.modelVolume" -}}
{{- with .Values.model.existingClaim }}
- name: model
  persistentVolumeClaim: {claimName: {{ . }}, readOnly: true}
{{- end }}
{{- with .Values.sharedMemory }}
- name: shm
  emptyDir: {medium: Memory, sizeLimit: {{ . }}}
{{- end }}
{{- end -}}
