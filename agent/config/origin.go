package config

const sourceEnvironment = "environment"

type origin struct{ source string }
