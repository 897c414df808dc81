package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
)

// atctl asks the daemon for something, as a program in any language can do. It returns what
// atctl prints on its standard output, also if it fails.
func atctl(ctx context.Context, input []byte, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "atctl", args...)
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &said
	if err := cmd.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("atctl %v: %w: %s", args, err, bytes.TrimSpace(said.Bytes()))
	}
	return out.Bytes(), nil
}
