package help

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"activationd/internal/fault"
)

// WrongFlag returns the error for a mistake in the flags of a command; err is cobra's.
func WrongFlag(cmd *cobra.Command, err error) error {
	if words := cmd.Flags().Args(); cmd.HasSubCommands() && len(words) > 0 { // the flag is one of a command that does not exist
		return Unknown(cmd, words)
	}
	return fmt.Errorf("%s (see %q): %w", flagText(err), cmd.CommandPath()+" --help", fault.Invalid)
}

// flagText says what is wrong with a flag.
func flagText(err error) string {
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return fmt.Sprintf("--%s: %s", e.GetFlag().Name, valueText(e))
	}
	if e, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		what, _ := pflag.UnquoteUsage(e.GetFlag())
		return fmt.Sprintf("--%s needs a value: %s", e.GetFlag().Name, what)
	}
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		if all := e.GetSpecifiedShortnames(); all != "" {
			return fmt.Sprintf("unknown flag: -%s, in -%s", e.GetSpecifiedName(), all)
		}
		return "unknown flag: --" + e.GetSpecifiedName()
	}
	if e, ok := errors.AsType[*pflag.InvalidSyntaxError](err); ok {
		return fmt.Sprintf("%q is not a flag", e.GetSpecifiedFlag())
	}
	return err.Error()
}

// valueText says what is wrong with the value of a flag.
func valueText(e *pflag.InvalidValueError) string {
	var want string
	switch e.GetFlag().Value.Type() {
	case "int":
		want = "is not a whole number"
	case "uint64":
		want = "is not a whole number of 0 or more"
	case "bool":
		want = "is neither true nor false"
	default: // a type of our own, whose errors are texts for users
		return errors.Unwrap(e).Error()
	}
	if errors.Is(e, strconv.ErrRange) {
		want = "is too large a number"
	}
	return fmt.Sprintf("%.40q %s", e.GetValue(), want)
}
