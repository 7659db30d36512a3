package main

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) healthcheckCommand() *cobra.Command {
	return &cobra.Command{
		Use: "healthcheck", Short: "Ask the running gateway's admin listener whether it is ready (for containers)",
		Args: args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			if cfg.Listen.Admin == "" {
				return usageError{errors.New("listen.admin is off, so nobody can be asked; set it to an address")}
			}
			client := &http.Client{Timeout: 3 * time.Second}
			req, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, "http://"+cfg.Listen.Admin+"/readyz", nil)
			if err != nil {
				return fmt.Errorf("ask %s: %w", cfg.Listen.Admin, err)
			}
			resp, err := client.Do(req)
			if err != nil {
				return fmt.Errorf("ask the gateway: %w", err)
			}
			defer func() { _ = resp.Body.Close() }()
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("the gateway is not ready: %s", resp.Status)
			}
			return nil
		},
	}
}
