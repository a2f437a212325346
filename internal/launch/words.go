package launch

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// PortVariable is the environment variable that tells a program its port.
const PortVariable = "QUAYMASTER_PORT"

// What stands in a command's words for ports.
const (
	portWord = "{port}" // one number, on TCP and UDP
	tcpWord  = "{tcp}"  // a port of TCP, which UDP may not have
	udpWord  = "{udp}"  // a port of UDP, which TCP may not have
)

// Placeholders say what stands for ports in a command.
type placeholders struct{ port, tcp, udp bool }

func placeholdersOf(command []string) placeholders {
	has := func(placeholder string) bool {
		return slices.ContainsFunc(command[1:], func(word string) bool { return strings.Contains(word, placeholder) })
	}
	return placeholders{has(portWord), has(tcpWord), has(udpWord)}
}

// Complete chooses the transports where the job says none: those of the placeholders {tcp}
// and {udp}, else TCP. It fails if the job's words do not go together.
func (j *Job) Complete() error {
	p := placeholdersOf(j.Command)
	switch {
	case p.port && (p.tcp || p.udp):
		return errors.New("{port} is one number for TCP and UDP, {tcp} and {udp} may be two: use either")
	case !p.tcp && !p.udp:
		j.TCP = j.TCP || !j.UDP
		return nil
	case !j.TCP && !j.UDP:
		j.TCP, j.UDP = p.tcp, p.udp
		return nil
	case j.TCP && !p.tcp:
		return errors.New("--tcp: the command has {udp} and no {tcp}: add it, or use {port}")
	case j.UDP && !p.udp:
		return errors.New("--udp: the command has {tcp} and no {udp}: add it, or use {port}")
	}
	return nil
}

// fill returns the command with its ports; 0 is one that it has no placeholder for.
func fill(command []string, tcp, udp uint16) []string {
	filler := strings.NewReplacer(portWord, number(tcp), tcpWord, number(tcp), udpWord, number(udp))
	words := []string{command[0]}
	for _, word := range command[1:] {
		words = append(words, filler.Replace(word))
	}
	return words
}

// environment returns the variables of a program that has a port.
func environment(env []string, port uint16) []string {
	others := slices.DeleteFunc(slices.Clone(env), func(v string) bool { return strings.HasPrefix(v, PortVariable+"=") })
	return append(others, fmt.Sprintf("%s=%d", PortVariable, port))
}

func number(port uint16) string { return strconv.Itoa(int(port)) }
