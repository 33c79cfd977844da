//go:build parts

// Package parts keeps the program's dependencies in go.sum when `go mod tidy` runs.
package parts

import _ "sigs.k8s.io/kueue/cmd/kueue"
