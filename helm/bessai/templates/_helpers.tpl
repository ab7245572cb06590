{{- define "bessai.name" -}}
{{- if contains "bessai" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-bessai" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels of all pods. KubeRay selects pods by app.kubernetes.io/name, which stays its own. */}}
{{- define "bessai.selector" -}}
bessai-release: {{ include "bessai.name" . }}
{{- end -}}

{{- define "bessai.labels" -}}
app.kubernetes.io/name: bessai
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "bessai.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "bessai.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "bessai.name" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* What every pod of the release shares: identity, user and where it may run. */}}
{{- define "bessai.podSecurity" -}}
serviceAccountName: {{ include "bessai.serviceAccount" . }}
automountServiceAccountToken: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 1000
  fsGroup: 1000
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "bessai.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The environment of every Ray node. */}}
{{- define "bessai.env" -}}
- name: RAY_gcs_rpc_server_reconnect_timeout_s
  value: {{ .Values.gcsReconnectTimeoutS | int | toString | quote }}
- name: RAY_SERVE_ENABLE_HA_PROXY
  value: {{ ternary "1" "0" .Values.haProxy | quote }}
- name: BESSAI_STATE_DIR
  value: /var/lib/bessai
- name: BESSAI_API_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .Values.apiKey.secretName }}
      key: api_key
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Pod template of a Ray node. Arguments: root, group, kind (head or worker). */}}
{{- define "bessai.rayPod" -}}
metadata:
  labels:
    {{- include "bessai.selector" .root | nindent 4 }}
    bessai-component: {{ .kind }}
spec:
  {{- include "bessai.podSecurity" .root | nindent 2 }}
  terminationGracePeriodSeconds: 60
  containers:
    - name: ray-{{ .kind }}
      image: {{ include "bessai.image" .root }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      {{- if eq .kind "head" }}
      ports:
        - {name: gcs-server, containerPort: 6379}
        - {name: dashboard, containerPort: 8265}
        - {name: client, containerPort: 10001}
        - {name: serve, containerPort: 8000}
        - {name: metrics, containerPort: 8080}
      {{- else }}
      ports:
        - {name: serve, containerPort: 8000}
        - {name: metrics, containerPort: 8080}
      {{- end }}
      env:
        {{- include "bessai.env" .root | nindent 8 }}
      resources:
        {{- toYaml .group.resources | nindent 8 }}
      securityContext:
        {{- include "bessai.containerSecurity" .root | nindent 8 }}
      volumeMounts:
        - {name: fleet, mountPath: /etc/bessai, readOnly: true}
        - {name: state, mountPath: /var/lib/bessai}
        - {name: tmp, mountPath: /tmp}
  volumes:
    - name: fleet
      configMap:
        name: {{ include "bessai.name" .root }}-fleet
    - name: state
      {{- if .root.Values.state.claimName }}
      persistentVolumeClaim:
        claimName: {{ .root.Values.state.claimName }}
      {{- else }}
      emptyDir: {}
      {{- end }}
    - name: tmp
      emptyDir: {}
  {{- with .group.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .group.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .group.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
