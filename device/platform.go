package device

import (
	"fmt"
	"regexp"

	"activationd/internal/fault"
)

// A Platform is a dialog as data: what a kind of device says, and what to answer. Patterns are
// regular expressions (RE2) that must match a whole line. [BuiltIn] returns the platforms that
// come with the program; [ParsePlatform] reads others.
type Platform struct {
	Name string `yaml:"-"`

	// Shell says that it is a POSIX shell. Over SSH each command has a channel and an exit
	// status of its own; elsewhere the shell gets a prompt that shows the status. Only Login,
	// Host, Prompts (before that prompt is set), More, Save, Keys and Logout are used.
	Shell bool `yaml:"shell"`
	// Host matches the part of the prompt that names the host; {host} in Prompts stands for
	// it. The host is learned at the login, and again after a command that leads to another
	// mode, if the prompt there has another one.
	Host string `yaml:"host"`
	// Prompts match the whole line at the cursor when the device awaits a command.
	Prompts Prompts `yaml:"prompts"`
	// Terminal is the type of terminal that is requested over SSH. The default is one without
	// escape sequences.
	Terminal string `yaml:"terminal"`
	// Suggests says that the line editor may show suggestions behind the cursor, which are not
	// part of the line.
	Suggests bool `yaml:"suggests"`
	// Login has the questions and answers of the login.
	Login LoginDialog `yaml:"login"`
	// LoginSuffix is added to the user's name at the login. On some devices it sets how they
	// use the terminal.
	LoginSuffix string `yaml:"login_suffix"`
	// Welcome are the keys to press at questions between the login and the first prompt.
	// Return is not pressed after them.
	Welcome []Answer `yaml:"welcome"`
	// Enable is the command that leads from the user mode to the privileged mode.
	Enable string `yaml:"enable"`
	// Setup are commands to run after the login: no paging, no wrapping of lines.
	Setup []string `yaml:"setup"`
	// More matches the line at which a pager waits; a space continues it.
	More []string `yaml:"more"`
	// Configure has the commands that enter and leave the configuration mode.
	Configure ConfigureDialog `yaml:"configure"`
	// Session is another configuration mode, in which all lines take effect at once, for
	// changes that must not be half done. It is not needed if Configure has a commit.
	Session ConfigureDialog `yaml:"session"`
	// Save are the commands that make the configuration survive a restart. Saved matches a
	// line in the answer to each that confirms it. Without Saved, each answer that is not a
	// refusal counts as confirmation.
	Save  []string `yaml:"save"`
	Saved []string `yaml:"saved"`
	// Answers are the answers to questions that commands ask.
	Answers []Answer `yaml:"answers"`
	// Errors match the lines that refuse a command; {refusal} in them stands for a text in one
	// of the usual forms of refusals. Harmless match those of these lines that only inform:
	// they become a [Notice].
	Errors   []string `yaml:"errors"`
	Harmless []string `yaml:"harmless"`
	// Quiet says that the device says nothing when it accepts a line of a configuration. If it
	// says something nevertheless that is not a refusal, that becomes a [Notice], too.
	Quiet bool `yaml:"quiet"`
	// Logs match lines that come at any time and do not belong to a command.
	Logs []string `yaml:"logs"`
	// Strip match lines that are part of a prompt of several lines.
	Strip []string `yaml:"strip"`
	// Rename matches commands that change the host in the prompt.
	Rename string `yaml:"rename"`
	// Keys are the keys of the line editor.
	Keys Keys `yaml:"keys"`
	// Logout are the commands that end a session on a console, if we had to log in.
	Logout []string `yaml:"logout"`
	// Blind says that the device does not echo, so lines can't be verified before they are
	// executed.
	Blind bool `yaml:"blind"`
}

// Prompts are the prompts of a platform, by mode. A platform without a mode has no prompt for
// it.
type Prompts struct {
	User       string `yaml:"user"`
	Privileged string `yaml:"privileged"`
	Configure  string `yaml:"configure"`
	// Above matches the line above a prompt of the configuration mode, if that mode and the
	// privileged mode have the same prompt.
	Above string `yaml:"above"`
}

// LoginDialog has patterns of the lines at the login.
type LoginDialog struct {
	User     string `yaml:"user" json:"user,omitempty"`
	Password string `yaml:"password" json:"password,omitempty"`
	Failed   string `yaml:"failed" json:"failed,omitempty"`
}

// with returns a dialog that knows the questions of both.
func (d LoginDialog) with(more LoginDialog) LoginDialog {
	either := func(a, b string) string {
		if a == "" || b == "" {
			return a + b
		}
		return "(?:" + a + ")|(?:" + b + ")"
	}
	return LoginDialog{either(d.User, more.User), either(d.Password, more.Password), either(d.Failed, more.Failed)}
}

// Check returns what is wrong with the patterns, if anything is.
func (d LoginDialog) Check() error {
	for _, expr := range []string{d.User, d.Password, d.Failed} {
		if _, err := regexp.Compile(expr); err != nil {
			return fmt.Errorf("%w: %w", err, fault.Invalid)
		}
	}
	return nil
}

// ConfigureDialog has the commands before and after the lines of a configuration.
type ConfigureDialog struct {
	Enter []string `yaml:"enter"`
	// Commit makes the lines take effect, and Abort discards them after an error. If Commit is
	// empty, every line takes effect at once.
	Commit []string `yaml:"commit"`
	// Committed matches a line of the answer to Commit. Without that line the commit has
	// failed.
	Committed string `yaml:"committed"`
	// Busy matches a line which says that somebody else's commit is still running. That
	// passes.
	Busy  string   `yaml:"busy"`
	Abort []string `yaml:"abort"`
	Leave []string `yaml:"leave"`
}

// An Answer is given when a question matches.
type Answer struct {
	Question string `yaml:"question"`
	Answer   string `yaml:"answer"`
}

// Keys are control characters, written as in "\x15". An empty key does not exist.
type Keys struct {
	// Erase erases the line that is being typed.
	Erase string `yaml:"erase"`
	// Back erases the last character.
	Back string `yaml:"back"`
	// Redraw shows the line once more.
	Redraw string `yaml:"redraw"`
	// Quote precedes each of the characters of Special, which would act otherwise.
	Quote   string `yaml:"quote"`
	Special string `yaml:"special"`
}
