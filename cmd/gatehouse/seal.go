package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"gatehouse/authn"
	"gatehouse/store"
	"gatehouse/store/sealed"
)

// keySealCommand encrypts keys that were stored before tokens.encryption_key
// was given, and encrypts the others anew under its first line.
func (a *app) keySealCommand() *cobra.Command {
	return &cobra.Command{
		Use: "seal", Short: "Encrypt the stored keys under the first line of tokens.encryption_key", Args: args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			return a.admin(cmd.Context(), func(_ *authn.Admin, acc *accounts) error {
				if cfg.Tokens.EncryptionKey.IsZero() {
					return usageError{errors.New("tokens.encryption_key is not given")}
				}
				box, err := sealed.NewBox(cfg.Tokens.EncryptionKey.Reveal())
				if err != nil {
					return err
				}
				n, err := acc.store.Keys().Reseal(cmd.Context(), func(k store.Key) (store.Key, error) {
					opened, err := box.Open(k)
					if errors.Is(err, sealed.ErrPlain) {
						opened, err = k, nil
					}
					if err != nil {
						return k, err
					}
					return box.Seal(opened), nil
				})
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.stdout, "%d keys are encrypted\n", n)
				return err
			})
		},
	}
}
