{{- define "bridge.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "bridge.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "bridge.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "bridge.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* A name with an ending, within 63 characters. */ -}}
{{- define "bridge.nameWith" -}}
{{- $end := printf "-%s" (last .) -}}
{{- printf "%s%s" (include "bridge.fullname" (first .) | trunc (int (sub 63 (len $end))) | trimSuffix "-") $end -}}
{{- end -}}

{{- define "bridge.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "bridge.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "bridge.selector" -}}
app.kubernetes.io/name: {{ include "bridge.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* The pod of `helm test`, which no selector of the bridge's pods matches. */ -}}
{{- define "bridge.testSelector" -}}
app.kubernetes.io/name: {{ include "bridge.nameWith" (list . "test") }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "bridge.commonLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "bridge.labels" -}}
{{ include "bridge.selector" . }}
{{ include "bridge.commonLabels" . }}
{{- end -}}

{{- define "bridge.image" -}}
{{- $repository := required "image.repository is required: where the cluster gets the image, such as registry.example.com/bpcc-bridge; deploy/container/Dockerfile builds it" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* On OpenShift user and groups come from the namespace's range; others are refused. */ -}}
{{- define "bridge.podSecurityContext" -}}
{{- $context := .Values.podSecurityContext -}}
{{- if .Values.openshift -}}
{{- $context = omit $context "runAsUser" "runAsGroup" "fsGroup" -}}
{{- end -}}
{{- toYaml $context -}}
{{- end -}}

{{- /* The configuration that is no secret; the pods are replaced when it changes. */ -}}
{{- define "bridge.files" -}}
{{- with .Values.subscription }}
subscription.json: {{ . | quote }}
{{- end }}
{{- with .Values.thresholds }}
thresholds.json: {{ toJson . | quote }}
{{- end }}
{{- with .Values.bpcc.tenants }}
tenants.json: {{ toJson . | quote }}
{{- end }}
{{- end -}}

{{- /* Nine tenths of the memory limit, in bytes: the collector of Go works harder before the
kernel ends the process. Empty without a limit in a usual unit. */ -}}
{{- define "bridge.goMemLimit" -}}
{{- $limit := dig "limits" "memory" "" .Values.resources -}}
{{- if not (kindIs "string" $limit) -}}{{- $limit = int64 $limit | toString -}}{{- end -}}
{{- $number := regexFind "^[0-9]+([.][0-9]+)?" $limit -}}
{{- $factors := dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $factor := get $factors (trimPrefix $number $limit) -}}
{{- if and $number $factor -}}
{{- mulf $number $factor 0.9 | int64 -}}
{{- end -}}
{{- end -}}

{{- /* The variables that the chart sets, in their order. `instead` says what to do for another
value; one without it gives way to env and extraEnv. */ -}}
{{- define "bridge.variables" -}}
{{- $own := .Values.extraEnv | default list -}}
{{- $names := keys .Values.env -}}
{{- range $own -}}{{- $names = append $names .name -}}{{- end -}}
{{- with .Values.bpcc -}}
{{- $secret := or (has "BPCC_CLIENT_SECRET" $names) (has "BPCC_CLIENT_SECRET_FILE" $names) -}}
{{- if not (or .secret.name $secret (and .tenants $.Values.extraVolumes)) -}}
{{- fail "bpcc.secret.name is required: a Secret of the namespace with the API user's secret key; or extraEnv with BPCC_CLIENT_SECRET or BPCC_CLIENT_SECRET_FILE" -}}
{{- end -}}
{{- if .tenants }}
- {name: BRIDGE_TENANTS_FILE, value: /etc/bridge/tenants.json, instead: set bpcc.tenants}
{{- else }}
- {name: BPCC_URL, value: {{ required "bpcc.url is required: the address of the tenant, such as https://acme.brightpattern.com; or bpcc.tenants for several" .url | quote }}, instead: set bpcc.url}
- {name: BPCC_CLIENT_ID, value: {{ required "bpcc.clientId is required: the name of the API user" .clientId | quote }}, instead: set bpcc.clientId}
{{- if .secret.name }}
- {name: BPCC_CLIENT_SECRET_FILE, value: {{ printf "/run/secrets/bpcc/%s" .secret.key | quote }}, instead: set bpcc.secret.name and bpcc.secret.key}
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.subscription }}
- {name: BPCC_SUBSCRIPTION_FILE, value: /etc/bridge/subscription.json, instead: set subscription}
{{- end }}
{{- if .Values.thresholds }}
- {name: BRIDGE_THRESHOLDS_FILE, value: /etc/bridge/thresholds.json, instead: set thresholds}
{{- end }}
{{- with .Values.nats }}
- {name: NATS_URL, value: {{ required "nats.url is required: the address of the NATS server, such as nats://nats.nats:4222" .url | quote }}, instead: set nats.url}
{{- if .creds.secret }}
- {name: NATS_CREDS, value: {{ printf "/run/secrets/nats-creds/%s" .creds.key | quote }}, instead: set nats.creds}
{{- end }}
{{- if .ca.secret }}
- {name: NATS_CA, value: {{ printf "/run/secrets/nats-ca/%s" .ca.key | quote }}, instead: set nats.ca}
{{- end }}
{{- if .clientCert.secret }}
- {name: NATS_CERT, value: {{ printf "/run/secrets/nats-cert/%s" .clientCert.certKey | quote }}, instead: set nats.clientCert}
- {name: NATS_KEY, value: {{ printf "/run/secrets/nats-cert/%s" .clientCert.keyKey | quote }}, instead: set nats.clientCert}
{{- end }}
- {name: BRIDGE_REPLICAS, value: {{ .streamReplicas | quote }}, instead: set nats.streamReplicas}
- {name: BRIDGE_LEASE_TTL, value: {{ .leaseTTL | quote }}, instead: set nats.leaseTTL}
{{- end }}
{{- with .Values.proxy.https }}
- {name: HTTPS_PROXY, value: {{ . | quote }}, instead: set proxy.https}
{{- end }}
{{- with .Values.proxy.noProxy }}
- {name: NO_PROXY, value: {{ . | quote }}, instead: set proxy.noProxy}
{{- end }}
- {name: BRIDGE_HTTP, value: "0.0.0.0:8080", instead: "leave it out: probes, Service and NetworkPolicy need port 8080"}
{{- $service := include "bridge.fullname" . }}
{{- $inNamespace := printf "%s.%s" $service .Release.Namespace }}
{{- $hosts := concat (list $service $inNamespace (printf "%s.svc" $inNamespace) (printf "%s.svc.cluster.local" $inNamespace)) .Values.http.hosts }}
- {name: BRIDGE_HTTP_HOSTS, value: {{ join "," $hosts | quote }}, instead: set http.hosts}
- {name: BRIDGE_LOG_FORMAT, value: json}
{{- with include "bridge.goMemLimit" . }}
- {name: GOMEMLIMIT, value: {{ . | quote }}}
{{- end }}
{{- end -}}

{{- /* The variables of the container: each name once, NAME and NAME_FILE being one. */ -}}
{{- define "bridge.env" -}}
{{- $given := list -}}
{{- range $name, $value := .Values.env -}}
{{- $given = append $given (dict "in" "env" "variable" (dict "name" $name "value" $value)) -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- $given = append $given (dict "in" "extraEnv" "variable" .) -}}
{{- end -}}
{{- $names := dict -}}
{{- range $given -}}
{{- $name := .variable.name -}}
{{- with get $names (trimSuffix "_FILE" $name) -}}
{{- fail (printf "%s is given twice: leave one of them out" $name) -}}
{{- end -}}
{{- $_ := set $names (trimSuffix "_FILE" $name) .in -}}
{{- end -}}
{{- $env := list -}}
{{- range include "bridge.variables" . | fromYamlArray -}}
{{- $in := get $names (trimSuffix "_FILE" .name) -}}
{{- if and $in .instead -}}
{{- fail (printf "%s.%s: the chart sets %s; %s" $in (trimSuffix "_FILE" .name) .name .instead) -}}
{{- end -}}
{{- if not $in -}}
{{- $env = append $env (pick . "name" "value") -}}
{{- end -}}
{{- end -}}
{{- range $given -}}
{{- $env = append $env .variable -}}
{{- end -}}
{{- toYaml $env -}}
{{- end -}}
