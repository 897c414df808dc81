package line

import (
	"context"
	"errors"
	"strconv"

	"activationd/control"
	"activationd/control/access"
)

// fail replies to a request that was not done. It returns a closingError as it is:
// the end of the session sends its text.
func (s *session) fail(ctx context.Context, op *control.Op, err error) error {
	var closing closingError
	if errors.As(err, &closing) {
		s.replied(op, closing.code)
		return err
	}
	code, text := access.Failure(ctx, s.Log, op.Name, err)
	s.replied(op, code)
	return s.finish(code, text)
}

// answer writes a reply.
func (s *session) answer(ctx context.Context, op *control.Op, a control.Answer) error {
	code, text := 200, "OK"
	if a.Err != nil {
		code, text = access.Failure(ctx, s.Log, op.Name, a.Err)
	}
	if a.Summary != "" {
		text += " " + a.Summary
	}
	defer s.replied(op, code)
	if err := s.head(code, text); err != nil {
		return err
	}
	if a.Lines != nil {
		for line, err := range a.Lines {
			if err == nil {
				err = s.json.Encode(line)
				if werr := s.writeErr(); werr != nil {
					return werr
				}
			}
			if err != nil {
				return s.abort(ctx, op, err)
			}
		}
	}
	_, err := s.out.WriteString(".\n")
	return err
}

// head writes the first line of a reply.
func (s *session) head(code int, text string) error {
	s.code = strconv.AppendInt(s.code[:0], int64(code), 10)
	s.code = append(s.code, ' ')
	s.code = append(s.code, control.OneLine(text)...)
	s.code = append(s.code, '\n')
	_, err := s.out.Write(s.code)
	return err
}

// finish writes a reply without lines.
func (s *session) finish(code int, text string) error {
	if err := s.head(code, text); err != nil {
		return err
	}
	_, err := s.out.WriteString(".\n")
	return err
}

// abort ends a reply that was begun with 200 and cannot go on because of err.
func (s *session) abort(ctx context.Context, op *control.Op, err error) error {
	var end control.EndLine
	end.Error.Code, end.Error.Text = access.Failure(ctx, s.Log, op.Name, err)
	if err := s.json.Encode(end); err != nil {
		return err
	}
	_, err = s.out.WriteString(".\n")
	return err
}

// writeErr returns the error with which writing to the client has failed, if it has.
func (s *session) writeErr() error {
	_, err := s.out.Write(nil)
	return err
}
