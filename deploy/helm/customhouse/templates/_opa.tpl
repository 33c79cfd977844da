{{- /* Open Policy Agent beside Customhouse: it is given the rules and asked over a socket that nobody else reaches. */ -}}
{{- define "customhouse.opa" -}}
{{- if eq .Values.engine "embedded" -}}
{{- fail "engine: embedded and opa.enabled: true exclude one another" -}}
{{- end -}}
{{- if not (regexMatch "^sha256:[0-9a-f]{64}$" (.Values.opa.image.digest | default "")) -}}
{{- fail "set opa.image.digest to the digest of an image of Open Policy Agent 1.0 or later" -}}
{{- end -}}
- name: opa
  restartPolicy: Always # started first, and kept (a sidecar, Kubernetes 1.29)
  image: {{ printf "%s@%s" .Values.opa.image.repository .Values.opa.image.digest | quote }}
  args:
    - run
    - --server
    - --addr=unix:///run/opa/socket
    - --unix-socket-perm=600
    - --diagnostic-addr=0.0.0.0:8282
    - --disable-telemetry
    - --log-level=error
  ports:
    - {name: diagnostic, containerPort: 8282}
  startupProbe: {httpGet: {path: /health, port: diagnostic}, periodSeconds: 1, failureThreshold: 60}
  readinessProbe: {httpGet: {path: /health, port: diagnostic}}
  livenessProbe: {httpGet: {path: /health, port: diagnostic}, periodSeconds: 20, failureThreshold: 3}
  resources:
    requests: {cpu: 250m, memory: 128Mi}
    limits: {cpu: "2", memory: 512Mi}
  securityContext:
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    runAsNonRoot: true
    capabilities: {drop: [ALL]}
  volumeMounts:
    - {name: opa, mountPath: /run/opa}
{{- end -}}
