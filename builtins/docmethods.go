package builtins

import "strings"

// methodSpecs are the methods of values, which are no names by themselves, for the
// pages of documentation.
func methodSpecs() []*Spec {
	all := captureMethods()
	for i := range processMethods {
		all = append(all, &processMethods[i].Spec)
	}
	return append(append(all, &serverStop.Spec, dhcpRenew, dhcpRelease, radvdStop), tunMethods...)
}

// makers are builtins whose values' methods go by another name.
var makers = strings.NewReplacer("http_server.", "server.", "tcp_server.", "server.", "udp_server.", "server.",
	"dns_server.", "server.", "dhcp_server.", "server.", "dhcp_client.", "dhcp.", "spawn.", "process.")

// findMethod finds a method of a value by the name of its kind or of what makes it.
func findMethod(name string) *Spec {
	name = makers.Replace(name)
	for _, s := range methodSpecs() {
		if s.Name == name {
			return s
		}
	}
	return nil
}
