package access

// A Meter counts requests of clients. It is called by many goroutines.
type Meter interface {
	// Begin is called when a face begins to serve a request. A face is a protocol: "line", "http".
	Begin(face string)
	// End is called when it has, with the name of the operation and the code of the reply; 0: there
	// was none, as the client has left.
	End(face, op string, code int)
}

// NoMeter counts nothing.
type NoMeter struct{}

// Begin implements [Meter].
func (NoMeter) Begin(string) {}

// End implements [Meter].
func (NoMeter) End(string, string, int) {}
