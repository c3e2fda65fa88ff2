// The floor for http(): requests of net/http over the loopback, one for each
// connection, one after another. It prints the seconds that each took.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

const requests = 500

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		log.Fatal(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })))
	}()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func() {
		r, err := client.Get("http://" + l.Addr().String() + "/")
		if err != nil {
			log.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	get()
	start := time.Now()
	for range requests {
		get()
	}
	fmt.Println(time.Since(start).Seconds() / requests)
}
