// Argo CD's application controller and repository server in one program, as its own is one: ARGOCD_BINARY_NAME, else the
// name that it is called by, says which. What else is in Argo CD's program (its API server, pages and command line) is
// left out: no test needs it, and it takes as long again to build.
package main

import (
	"os"
	"path/filepath"

	controller "github.com/argoproj/argo-cd/v3/cmd/argocd-application-controller/commands"
	repo "github.com/argoproj/argo-cd/v3/cmd/argocd-repo-server/commands"
	"github.com/spf13/cobra"
)

func main() {
	name := os.Getenv("ARGOCD_BINARY_NAME")
	if name == "" {
		name = filepath.Base(os.Args[0])
	}
	var command *cobra.Command
	switch name {
	case "argocd-repo-server":
		command = repo.NewCommand()
	default:
		command = controller.NewCommand()
	}
	if err := command.Execute(); err != nil {
		os.Exit(1)
	}
}
