// SPDX-License-Identifier: GPL-2.0

// A Web server as Go programs have it: server NAME FOLDER LOG.
// GET /FILE is a file of FOLDER; POST and PUT /sum?id=ID say how long their bodies are, and their Adler-32; LOG gets a line
// for each.
package main

import (
	"fmt"
	"hash/adler32"
	"io"
	"log"
	"net/http"
	"os"
)

func main() {
	name, folder := os.Args[1], os.Args[2]
	book, err := os.OpenFile(os.Args[3], os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		log.Fatal(err)
	}
	files := http.FileServer(http.Dir(folder))
	log.Fatal(http.ListenAndServe(":80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Server", name)
		if r.Method == "GET" {
			files.ServeHTTP(w, r)
			return
		}
		sum := adler32.New()
		length, err := io.Copy(sum, r.Body)
		if err != nil {
			return
		}
		fmt.Fprintf(book, "%s %s %s\n", name, r.Method, r.URL)
		fmt.Fprintf(w, "%d %d\n", length, sum.Sum32())
	})))
}
