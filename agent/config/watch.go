package config

import (
	"context"
	"iter"

	"go.uber.org/zap"
)

// Watch yields a new Config, or the error that a change brought, whenever one of the files that Load would read
// changes.
func Watch(ctx context.Context, o LoadOptions, log *zap.Logger) (iter.Seq2[*Config, error], error) {
	return nil, nil
}
