package control_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"slipway/agent/control"
	"slipway/agent/control/controltest"
)

// BenchmarkPoll is a poll that brings nothing, over real HTTP with signatures made and verified.
func BenchmarkPoll(b *testing.B) {
	s, err := controltest.New(controltest.Options{Region: region, Keys: map[string]string{access: secret}, MaxCall: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	url, err := s.Start()
	if err != nil {
		b.Fatal(err)
	}
	c, err := control.New(control.Options{
		Endpoint: url, Region: region, HostID: hostID, Version: version, Credentials: credentials.NewStaticCredentialsProvider(access, secret, ""),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Poll(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEnvelopeOpen verifies a message as the service signs it.
func BenchmarkEnvelopeOpen(b *testing.B) {
	s, err := controltest.New(controltest.Options{})
	if err != nil {
		b.Fatal(err)
	}
	g, err := s.RSASigner()
	if err != nil {
		b.Fatal(err)
	}
	e, err := g.Sign(content)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Open(nil); err != nil {
			b.Fatal(err)
		}
	}
}
