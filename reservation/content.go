package reservation

import "context"

type contentKey struct{}

// WithContent returns a context in which a source whose content is handed to it, instead of being
// read somewhere, has that content.
func WithContent(ctx context.Context, content []byte) context.Context {
	return context.WithValue(ctx, contentKey{}, content)
}

// Content returns the content of [WithContent]; nil: there is none.
func Content(ctx context.Context) []byte {
	content, _ := ctx.Value(contentKey{}).([]byte)
	return content
}
