package customhouse.tests.images

import data.customhouse.fixtures
import data.customhouse.rules.images

test_image_invalid_fires_for_a_reference_outside_the_grammar if {
	found := images.findings with input as fixtures.with_image({"valid": false, "reference": "../evil"})
	fixtures.rules(found) == {"image-invalid"}
}

test_image_invalid_is_silent_for_the_model_container_without_an_image if {
	count(images.findings) == 0 with input as fixtures.with_container({"image": null})
}

test_image_untrusted_registry_fires_for_another_registry if {
	found := images.findings with input as fixtures.with_image({"repository": "docker.io/library/nginx"})
	fixtures.rules(found) == {"image-untrusted-registry"}
	some finding in found
	finding.pointer == "/spec/template/spec/containers/0/image"
	contains(finding.message, "apexlogic.com/")
}

test_image_untrusted_registry_fires_for_a_registry_that_starts_alike if {
	found := images.findings with input as fixtures.with_image({"repository": "apexlogic.com.evil.io/serve"})
	fixtures.rules(found) == {"image-untrusted-registry"}
}

test_image_untrusted_registry_fires_when_none_is_configured if {
	found := images.findings with input as object.union(fixtures.facts, {"settings": {"trusted_registries": []}})
	fixtures.rules(found) == {"image-untrusted-registry"}
	some finding in found
	contains(finding.message, "none is configured")
}

test_image_untrusted_registry_fires_for_an_empty_entry if {
	found := images.findings with input as object.union(fixtures.facts, {"settings": {"trusted_registries": ["", "/"]}})
	fixtures.rules(found) == {"image-untrusted-registry"}
}

test_image_untrusted_registry_is_silent_for_a_trusted_repository if {
	trusted := {"settings": {"trusted_registries": ["apexlogic.com/serve"]}}
	count(images.findings) == 0 with input as object.union(fixtures.facts, trusted)
}

test_image_not_pinned_fires_for_a_tag_alone if {
	found := images.findings with input as fixtures.with_image({"digest": null})
	fixtures.rules(found) == {"image-not-pinned"}
}

test_image_not_pinned_is_silent_for_a_digest_without_a_tag if {
	count(images.findings) == 0 with input as fixtures.with_image({"tag": null})
}

test_image_latest_tag_fires_for_latest_even_when_pinned if {
	found := images.findings with input as fixtures.with_image({"tag": "latest"})
	fixtures.rules(found) == {"image-latest-tag"}
}

test_image_latest_tag_is_silent_for_a_version if {
	count(images.findings) == 0 with input as fixtures.with_image({"tag": "latest-1"})
}

test_init_containers_count_too if {
	evil := object.union(fixtures.container, {
		"role": "init",
		"name": "setup",
		"image": object.union(fixtures.container.image, {"repository": "evil.io/x"}),
	})
	found := images.findings with input as fixtures.with_pod({"containers": [fixtures.container, evil]})
	count(found) == 1
	some finding in found
	contains(finding.message, `init container "setup"`)
}

image_volume(image) := fixtures.with_workload({"pods": [object.union(fixtures.pod, {"volumes": [{
	"name": "weights",
	"kind": "image",
	"pointer": "/v/0",
	"image": image,
}]})]})

test_image_untrusted_registry_fires_for_a_volume if {
	found := images.findings with input as image_volume({
		"reference": "evil.io/x:1",
		"valid": true,
		"repository": "evil.io/x",
		"tag": "1",
		"digest": null,
	})
	fixtures.rules(found) == {"image-untrusted-registry", "image-not-pinned"}
}

test_image_untrusted_registry_fires_for_a_volume_with_an_invalid_reference if {
	found := images.findings with input as image_volume({
		"reference": "../evil",
		"valid": false,
		"repository": "../evil",
		"tag": null,
		"digest": null,
	})
	"image-untrusted-registry" in fixtures.rules(found)
}

test_image_untrusted_registry_is_silent_for_a_trusted_volume if {
	count(images.findings) == 0 with input as image_volume(fixtures.container.image)
}
