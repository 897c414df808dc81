package line

import (
	"fmt"

	"activationd/control"
)

type tokenIn struct {
	Token string `arg:"token,required"`
}

// A helpLine tells of one command.
type helpLine struct {
	Command   string   `json:"command"`
	Arguments []string `json:"arguments"` // "id:", "[lock:]...": brackets for what can be left out, dots for what repeats
	Role      string   `json:"role"`
	Help      string   `json:"help"`
}

// builtins returns the server's own commands. Their handlers are in own: they
// are about the connection.
func builtins(r *control.Registry) *control.Registry {
	own := control.NewRegistry(
		control.Declare[control.Nothing, control.Nothing]("help", control.NoRole, "list the commands", nil),
		control.Declare[tokenIn, control.Nothing]("token", control.NoRole, "say who you are, for what follows", nil),
		control.Declare[control.Nothing, control.Nothing]("quit", control.NoRole, "close the connection", nil),
	)
	for _, op := range own.Ops() {
		if r.Lookup(op.Name) != nil {
			panic("operation " + op.Name + ": the name is the line protocol's own")
		}
	}
	return own
}

// own runs one of the server's own commands.
func (s *session) own(req *request) error {
	if req.err != nil {
		return s.fail(req.op, req.err)
	}
	switch req.op.Name {
	case "token":
		in, err := req.args.Input()
		if err != nil {
			return s.fail(req.op, err)
		}
		given, ok := in.(*tokenIn)
		if !ok {
			return s.fail(req.op, fmt.Errorf("input %T", in))
		}
		c, err := s.identify(&request{op: req.op, token: given.Token})
		if err != nil {
			return err
		}
		s.token = given.Token
		if c.Role >= control.Operator { // his connection is in nobody's way
			s.give()
		}
		return s.finish(200, fmt.Sprintf("OK name=%s role=%s", c.Name, c.Role))
	case "quit":
		if err := s.finish(200, "OK"); err != nil {
			return err
		}
		return errQuit
	default:
		return s.help()
	}
}

func (s *session) help() error {
	if err := s.head(200, "OK "+helpText); err != nil {
		return err
	}
	for _, r := range []*control.Registry{s.Registry, s.builtin} {
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
