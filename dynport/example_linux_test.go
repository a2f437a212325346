package dynport_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"

	"github.com/quaymaster/quaymaster/dynport"
	"github.com/quaymaster/quaymaster/internal/api"
)

// A server of a program that greets, and a client that finds it.
func ExampleConfig_Listen() {
	dir, err := os.MkdirTemp("", "dynport")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket, stop, err := startDaemon(dir, 5220, 5229, true) // quaymaster serve --pool policy.reg
	if err != nil {
		log.Fatal(err)
	}
	defer stop()

	// Where the system's daemon runs, dynport.Listen does.
	ln, err := dynport.Config{Control: socket}.Listen(context.Background(), dynport.ONC(0x20000001, 1))
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "hello from a port of the pool")
	}()

	found, err := api.NewClient(socket).List(context.Background()) // rpcinfo -p finds it as well
	if err != nil {
		log.Fatal(err)
	}
	at := found.Endpoints[0]
	fmt.Printf("program %d version %s on %s, %s\n", at.Program, at.Version, at.NetID, at.Evidence)
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", at.Port))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	text, err := io.ReadAll(conn)
	fmt.Println(string(text), err)
	// Output:
	// program 536870913 version 1 on tcp, listening
	// hello from a port of the pool <nil>
}
