// Package lab is AWS on loopback, as far as an instance and its operator meet it: the host-command service, the
// public CodeDeploy API, S3, the instance metadata service, in one process with its state in memory. The aws
// client and the SDKs talk to it unchanged but for the endpoint; signatures are verified for real.
//
// It is also a fault bench. Every answer of every service can be delayed, refused, throttled, cut off or
// tampered with while it runs, and every call and every change of a deployment is on record.
//
// It stands for the service, so it shares no code with the engine that it tests. It listens on loopback only
// and never ships inside the slipway binary.
package lab
