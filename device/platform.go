package device

import (
	"fmt"
	"regexp"

	"activationd/internal/fault"
)

// A Platform is a dialog as data: what a kind of device says, and what to answer.
// Patterns are regular expressions (RE2), each matched against one whole line.
// BuiltIn has those that come with the program; [ParsePlatform] reads others.
type Platform struct {
	Name string `yaml:"-"`

	// Shell says that it is a POSIX shell: over SSH each command has a channel and an
	// exit status of its own, elsewhere the prompt is replaced by one that tells the
	// status. Only Login, Host, Prompts (of before that), More, Save, Keys and Logout
	// matter then.
	Shell bool `yaml:"shell"`
	// Host matches the part of the prompt that names the host. It is learned at login, and
	// again after a command that leads to another mode, if it differs there; {host} in
	// Prompts stands for it.
	Host string `yaml:"host"`
	// Prompts match the whole line that the cursor is on when a command is awaited.
	Prompts Prompts `yaml:"prompts"`
	// Terminal is the type of terminal that it is told to speak to over SSH: one without
	// escape sequences if it is empty.
	Terminal string `yaml:"terminal"`
	// Suggests says that its line editor may show behind the cursor how the line could go
	// on: that is not part of the line.
	Suggests bool `yaml:"suggests"`
	// Login is what it says when somebody is to log in.
	Login LoginDialog `yaml:"login"`
	// LoginSuffix is put behind the user's name when he logs in. Some devices read there
	// how they shall use the terminal.
	LoginSuffix string `yaml:"login_suffix"`
	// Welcome are the keys that are pressed at questions between the login and the first
	// prompt. Return is not pressed behind them.
	Welcome []Answer `yaml:"welcome"`
	// Enable is the command that leads from the user's to the privileged mode.
	Enable string `yaml:"enable"`
	// Setup are commands for after the login: no paging, no wrapping of lines.
	Setup []string `yaml:"setup"`
	// More matches the line at which a pager waits; a space goes on.
	More []string `yaml:"more"`
	// Configure leads into the configuration mode and out of it.
	Configure ConfigureDialog `yaml:"configure"`
	// Session is another configuration mode, in which all lines become valid at once, for
	// what must not be half done. Where Configure has a commit it is not needed.
	Session ConfigureDialog `yaml:"session"`
	// Save are the commands that make the configuration survive a restart, and Saved
	// matches a line of the answer of each by which it says that it has. Without Saved
	// whatever is not refused counts.
	Save  []string `yaml:"save"`
	Saved []string `yaml:"saved"`
	// Answers are given to questions that commands ask.
	Answers []Answer `yaml:"answers"`
	// Errors match the lines by which it refuses a command; {refusal} in them stands for a
	// text that has one of the usual forms of refusals. Harmless match which of them only
	// inform: they are a [Notice].
	Errors   []string `yaml:"errors"`
	Harmless []string `yaml:"harmless"`
	// Quiet says that it answers nothing to a line of a configuration that it takes. What
	// it says all the same, and is no refusal, is a [Notice], too.
	Quiet bool `yaml:"quiet"`
	// Logs match lines that come at any time and belong to no command.
	Logs []string `yaml:"logs"`
	// Strip match lines which are part of a prompt of several lines.
	Strip []string `yaml:"strip"`
	// Rename matches commands after which the prompt has another host.
	Rename string `yaml:"rename"`
	// Keys are what the line editor knows.
	Keys Keys `yaml:"keys"`
	// Logout are the commands that end a session on a console, if we had to log in.
	Logout []string `yaml:"logout"`
	// Blind says that it doesn't echo, so that nothing can be checked.
	Blind bool `yaml:"blind"`
}

// Prompts are a platform's, by mode. Empty ones don't exist.
type Prompts struct {
	User       string `yaml:"user"`
	Privileged string `yaml:"privileged"`
	Configure  string `yaml:"configure"`
	// Above matches the line above a prompt of the configuration mode, where the prompts of
	// that mode and of the privileged one are the same.
	Above string `yaml:"above"`
}

// LoginDialog matches what is said at the login.
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

// Check says what is wrong with the patterns, if anything is.
func (d LoginDialog) Check() error {
	for _, expr := range []string{d.User, d.Password, d.Failed} {
		if _, err := regexp.Compile(expr); err != nil {
			return fmt.Errorf("%w: %w", err, fault.Invalid)
		}
	}
	return nil
}

// ConfigureDialog are the commands around a configuration's lines.
type ConfigureDialog struct {
	Enter []string `yaml:"enter"`
	// Commit makes the lines valid, and Abort throws them away after an error. With
	// Commit empty every line is valid at once.
	Commit []string `yaml:"commit"`
	// Committed matches a line of Commit's answer without which it has failed.
	Committed string `yaml:"committed"`
	// Busy matches a line by which it says that somebody else's commit is not done yet. That
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

// Keys are control characters, written as in "\x15". Empty ones don't exist.
type Keys struct {
	// Erase empties the line that is being typed.
	Erase string `yaml:"erase"`
	// Back takes back the last character.
	Back string `yaml:"back"`
	// Redraw shows it once more.
	Redraw string `yaml:"redraw"`
	// Quote precedes each of Special, which would else act when typed.
	Quote   string `yaml:"quote"`
	Special string `yaml:"special"`
}
