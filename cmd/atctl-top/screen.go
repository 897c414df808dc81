package main

import (
	"time"

	tea "charm.land/bubbletea/v2"
)

// A screen connects the model with the terminal and the daemon.
type screen struct {
	model  *model
	daemon *daemon
}

// Init implements [tea.Model].
func (s *screen) Init() tea.Cmd { return tick() }

// tick reports each full second, for the times that are shown.
func tick() tea.Cmd {
	return tea.Every(time.Second, func(t time.Time) tea.Msg { return tickMsg(t) })
}

// Update implements [tea.Model].
func (s *screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var cmds []tea.Cmd
	var orders []order
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		s.model.resize(msg.Width, msg.Height)
	case tea.KeyPressMsg:
		orders = s.model.key(msg.String(), msg.Text)
	case tea.PasteMsg:
		s.model.paste(msg.Content)
		orders = s.model.filtered()
	case tickMsg:
		cmds = append(cmds, tick())
		orders = s.model.update(msg)
	default:
		orders = s.model.update(msg)
	}
	for _, o := range orders {
		cmds = append(cmds, s.carryOut(o))
	}
	return s, tea.Batch(cmds...)
}

// carryOut returns what carries out an order. It never waits for the daemon: what does,
// runs in a goroutine of the library.
func (s *screen) carryOut(o order) tea.Cmd {
	switch o.verb {
	case "quit":
		return tea.Quit
	case "suspend":
		return tea.Suspend
	case "match":
		s.daemon.setMatch(o.text)
	case "read":
		notify(s.daemon.happened)
	case "log":
		s.daemon.showLog(o.id)
	case "why":
		return func() tea.Msg { return s.daemon.why(o.id) }
	default:
		return func() tea.Msg { return s.daemon.do(o) }
	}
	return nil
}

// View implements [tea.Model].
func (s *screen) View() tea.View {
	v := tea.NewView(s.model.view())
	v.AltScreen = true
	return v
}
