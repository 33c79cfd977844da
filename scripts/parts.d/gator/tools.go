//go:build parts

// Package parts keeps the program's dependencies in go.sum when `go mod tidy` runs.
package parts

import _ "github.com/open-policy-agent/gatekeeper/v3/cmd/gator"
