package lab

// routerConfig is what a router says that its configuration is, past its console.
func (l *lab) routerConfig(name string) string {
	l.t.Helper()
	return l.do("in_vtysh " + name + " -c 'show running-config'")
}
