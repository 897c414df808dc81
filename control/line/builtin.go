package line

import (
	"context"
	"fmt"

	"activationd/control"
)

type tokenIn struct {
	Secret string `arg:"token,required"`
}

// A helpLine describes one command.
type helpLine struct {
	Command   string   `json:"command"`
	Arguments []string `json:"arguments"` // "id:", "[lock:]...": brackets mark optional arguments, dots repeated ones
	Role      string   `json:"role"`
	Help      string   `json:"help"`
}

// builtins returns the server's own commands. They concern the connection, so
// session.builtin handles them.
func builtins(r *control.Registry) *control.Registry {
	own := control.NewRegistry(
		control.Declare[control.Nothing, control.Nothing]("help", control.NoRole, "list the commands", nil),
		control.Declare[tokenIn, control.Nothing]("token", control.NoRole, "identify yourself for the requests that follow", nil),
		control.Declare[control.Nothing, control.Nothing]("quit", control.NoRole, "close the connection", nil),
	)
	for _, op := range own.Ops() {
		if r.Lookup(op.Name) != nil {
			panic("operation " + op.Name + ": the line protocol has a command of this name")
		}
	}
	return own
}

// builtin runs one of the server's own commands.
func (s *session) builtin(ctx context.Context, req *request) error {
	if req.err != nil {
		return s.fail(ctx, req.op, req.err)
	}
	switch req.op.Name {
	case "token":
		return s.identifySession(ctx, req)
	case "quit":
		if err := s.finish(200, "OK"); err != nil {
			return err
		}
		return errQuit
	default:
		return s.help()
	}
}

// identifySession is the command "token": its secret counts for the requests that follow.
func (s *session) identifySession(ctx context.Context, req *request) error {
	in, err := req.args.Input()
	if err != nil {
		return s.fail(ctx, req.op, err)
	}
	given, ok := in.(*tokenIn)
	if !ok {
		return s.fail(ctx, req.op, fmt.Errorf("input %T", in))
	}
	c, err := s.identify(&request{op: req.op, secret: given.Secret})
	if err != nil {
		return closing(err)
	}
	s.secret = given.Secret
	if c.Role >= control.Operator { // not counted
		s.release()
	}
	return s.finish(200, fmt.Sprintf("OK name=%s role=%s", c.Name, c.Role))
}

func (s *session) help() error {
	if err := s.head(200, "OK "+helpText); err != nil {
		return err
	}
	for _, r := range []*control.Registry{s.Registry, s.builtins} {
		for _, op := range r.Ops() {
			l := helpLine{Command: op.Name, Arguments: []string{}, Role: op.Role.String(), Help: op.Help}
			for _, a := range op.Args() {
				arg := a.Name + ":"
				if !a.Required {
					arg = "[" + arg + "]"
				}
				if a.Repeated {
					arg += "..."
				}
				l.Arguments = append(l.Arguments, arg)
			}
			if err := s.json.Encode(l); err != nil {
				return err
			}
		}
	}
	_, err := s.out.WriteString(".\n")
	return err
}

const helpText = "a command, its arguments as name:value, one a line, then an empty line"
