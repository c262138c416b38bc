package lab

import (
	"fmt"

	"slipway/agent/control"
	"slipway/agent/control/controltest"
)

// inject enqueues a command beside any deployment, its specification wrapped as asked, and returns its id.
func (c *hostCommands) inject(r CommandRequest) (string, error) {
	command := controltest.Command{HostID: r.Host, Name: r.Name, System: r.System, EchoHost: r.EchoHost}
	var err error
	if r.Envelope == "none" {
		command.NoEnvelope = true
	} else if command.Spec, err = c.wrap(r.Envelope, []byte(r.Specification)); err != nil {
		return "", fmt.Errorf("specification: %w", err)
	}
	return c.server.Enqueue(command), nil
}

// wrap makes an envelope, of the good kind or one of the bad.
func (c *hostCommands) wrap(kind string, content []byte) (control.Envelope, error) {
	signer, err := c.server.Signer(), error(nil)
	switch kind {
	case "", "signed":
	case "unsigned":
		return control.Envelope{Format: "TEXT/JSON", Payload: string(content)}, nil
	case "garbage":
		return control.Envelope{Format: "PKCS7/JSON", Payload: "-----BEGIN PKCS7-----\nbm90IGEgbWVzc2FnZQ==\n-----END PKCS7-----\n"}, nil
	case "tampered":
		e, err := signer.Sign(content)
		if err != nil {
			return e, err
		}
		return controltest.TamperContent(e, content)
	case "forged":
		signer, err = c.server.ForgedSigner()
	case "expired":
		signer, err = c.server.ExpiredSigner()
	case "sha1":
		signer.SHA1 = true
	case "detached":
		signer.Detached = true
	case "der":
		signer.DER = true
	default:
		err = errEnvelope
	}
	if err != nil {
		return control.Envelope{}, err
	}
	return signer.Sign(content)
}
