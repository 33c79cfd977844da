{{- /* The one image, by digest alone: a tag may mean something else tomorrow. */ -}}
{{- define "customhouse.image" -}}
{{- if ne .Release.Namespace "customhouse-system" -}}
{{- fail "install with --namespace customhouse-system: inventories lie there, and the webhook exempts it by name" -}}
{{- end -}}
{{- if not (regexMatch "^sha256:[0-9a-f]{64}$" (.Values.image.digest | default "")) -}}
{{- fail "set image.digest to the digest of your image (sha256: and 64 hexadecimal digits): an image is named by its digest alone" -}}
{{- end -}}
{{- printf "%s@%s" (required "set image.repository: where your image of Customhouse lies" .Values.image.repository) .Values.image.digest -}}
{{- end -}}
