package customhouse.rules.images

import data.customhouse.lib

# METADATA
# title: An image reference has to be well formed
# description: >-
#   A reference that the grammar of the OCI distribution project refuses cannot be matched against trusted registries,
#   so it is refused instead of guessed at.
# custom:
#   id: image-invalid
#   category: security
#   severity: error
#   fix: Write registry/repository@sha256:digest, in lower case.
findings contains lib.error("security", "image-invalid", place, message, fix) if {
	some pod in lib.pods
	some container in pod.containers
	container.image != null
	not container.image.valid
	message := sprintf("The image %q of %s is no valid reference.", [container.image.reference, lib.called(container)])
	fix := "Write registry/repository@sha256:digest, in lower case."
	place := pointer(container)
}

# METADATA
# title: Images come from trusted registries
# description: >-
#   Every image, of init containers, sidecars, transformers, debug containers and volumes too, has to be in a registry or
#   repository that the configuration trusts. A trusted entry matches whole path components only. With no trusted
#   registry configured no image is trusted.
# custom:
#   id: image-untrusted-registry
#   category: security
#   severity: error
#   fix: Push the image to a trusted registry and name it there, or have the registry added to policy.trusted_registries.
findings contains lib.error("security", "image-untrusted-registry", place, message, fix) if {
	some pod in lib.pods
	some container in pod.containers
	container.image.valid
	repository := container.image.repository
	not trusted(repository)
	message := sprintf("The image %s of %s is not in a trusted registry (trusted: %s).", [
		container.image.reference,
		lib.called(container),
		lib.shown(input.settings.trusted_registries, "none is configured"),
	])
	fix := "Push the image to a trusted registry and name it there."
	place := pointer(container)
}

findings contains lib.error("security", "image-untrusted-registry", place, message, fix) if {
	some volume in image_volumes
	not trusted_volume(volume)
	message := sprintf("The image %s of volume %q is not in a trusted registry (trusted: %s).", [
		volume.image.reference,
		volume.name,
		lib.shown(input.settings.trusted_registries, "none is configured"),
	])
	fix := "Push the image to a trusted registry and name it there."
	place := concat("", [volume.pointer, "/image/reference"])
}

image_volumes := [volume |
	some pod in lib.pods
	some volume in pod.volumes
	volume.kind == "image"
]

trusted_volume(volume) if {
	volume.image.valid
	trusted(volume.image.repository)
}

# METADATA
# title: Images are pinned by digest
# description: A tag can be moved to other bytes after the review; a digest cannot.
# custom:
#   id: image-not-pinned
#   category: security
#   severity: error
#   fix: Append @sha256:… of the image that was reviewed (crane digest IMAGE prints it).
findings contains lib.error("security", "image-not-pinned", place, message, fix) if {
	some pod in lib.pods
	some container in pod.containers
	container.image.valid
	container.image.digest == null
	message := sprintf("The image %s of %s is not pinned by a digest.", [container.image.reference, lib.called(container)])
	fix := sprintf("Write %s@sha256:… (crane digest %s prints the digest).", [
		container.image.repository,
		container.image.reference,
	])
	place := pointer(container)
}

findings contains lib.error("security", "image-not-pinned", place, message, fix) if {
	some volume in image_volumes
	volume.image.digest == null
	message := sprintf("The image %s of volume %q is not pinned by a digest.", [volume.image.reference, volume.name])
	fix := "Append @sha256:… of what was reviewed (crane digest IMAGE prints it)."
	place := concat("", [volume.pointer, "/image/reference"])
}

# METADATA
# title: No image has the tag latest
# description: The tag latest, written or implied by writing no tag at all, says nothing about what runs.
# custom:
#   id: image-latest-tag
#   category: reliability
#   severity: error
#   fix: Name a version, and pin its digest.
findings contains lib.error("reliability", "image-latest-tag", place, message, fix) if {
	some pod in lib.pods
	some container in pod.containers
	container.image.valid
	container.image.tag == "latest"
	message := sprintf("The image %s of %s has the tag latest.", [container.image.reference, lib.called(container)])
	fix := "Name a version, and pin its digest."
	place := pointer(container)
}

trusted(repository) if {
	some entry in input.settings.trusted_registries
	prefix := trim_right(entry, "/")
	prefix != ""
	matches(repository, prefix)
}

matches(repository, prefix) if repository == prefix

matches(repository, prefix) if startswith(repository, concat("", [prefix, "/"]))

pointer(container) := concat("", [container.pointer, "/image"])
