// Reads a log of tokenledger as a stranger would: with other people's clients of C2SP's tlog-tiles, and nothing of ours.
//
//	tiles -key VKEY URL-OR-DIRECTORY
//
// Two clients read it. That of filippo.io/torchwood goes through all entries and shows each to stand in the tree of the
// signed checkpoint. That of github.com/transparency-dev/tessera compares every file of the log with what follows from
// its entries. Neither is believed by its silence: all entries are counted, and the root is computed from them once more.
//
// What is known of them: tessera's cuts a partial tile of hashes to its width and so does not see bytes behind it, waits for
// ever where a mismatch meets few workers, and panics where a bundle has too few entries. Torchwood's does none of that.
//
// Prints one JSON object for each client, {"by":"torchwood","ok":true,"size":n,"entries":n,"error":""}, and ends with 0
// where all accept the log, with 3 where one does not, with 4 where the time is up, with 2 where it was called wrongly.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"filippo.io/torchwood"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	exitRejected = 3
	exitTimeUp   = 4
	// With few workers, fsck waits for ever where it meets a mismatch.
	workers = 32
)

type verdict struct {
	By      string `json:"by"`
	OK      bool   `json:"ok"`
	Size    int64  `json:"size"`
	Entries int64  `json:"entries"`
	Error   string `json:"error"`
}

func main() {
	key := flag.String("key", "", "the log's verifier key, name+hash+base64")
	by := flag.String("by", "torchwood,tessera", "which clients read it")
	timeMax := flag.Duration("time", 30*time.Second, "how long a client may take")
	flag.Parse()
	verifier, err := note.NewVerifier(*key)
	if err != nil || flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: tiles -key VKEY URL-OR-DIRECTORY:", err)
		os.Exit(2)
	}
	base, err := reach(flag.Arg(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	readers := map[string]func(context.Context, string, note.Verifier) (int64, int64, error){
		"torchwood": readTorchwood,
		"tessera":   readTessera,
	}
	exit := 0
	for _, name := range strings.Split(*by, ",") {
		read, known := readers[name]
		if !known {
			fmt.Fprintln(os.Stderr, "no such client:", name)
			os.Exit(2)
		}
		exit = max(exit, judge(name, *timeMax, func(ctx context.Context) (int64, int64, error) {
			return read(ctx, base, verifier)
		}))
	}
	os.Exit(exit)
}

// judge lets one client read the log, in its time: a client that waits for ever must not hang whoever waits for it.
func judge(name string, timeMax time.Duration, read func(context.Context) (int64, int64, error)) int {
	ctx, cancel := context.WithTimeout(context.Background(), timeMax)
	defer cancel()
	done := make(chan verdict, 1)
	go func() {
		// One client ends so where a bundle has fewer entries than its name says.
		defer func() {
			if panicked := recover(); panicked != nil {
				done <- verdict{By: name, Error: fmt.Sprint("it panicked: ", panicked)}
			}
		}()
		size, entries, err := read(ctx)
		if err == nil && size != entries {
			err = fmt.Errorf("it read %d of %d entries", entries, size)
		}
		said := verdict{By: name, OK: err == nil, Size: size, Entries: entries}
		if err != nil {
			said.Error = err.Error()
		}
		done <- said
	}()
	exit := 0
	var said verdict
	select {
	case said = <-done:
		if !said.OK {
			exit = exitRejected
		}
	case <-time.After(timeMax + time.Second):
		said, exit = verdict{By: name, Error: "the time is up"}, exitTimeUp
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		exit = exitTimeUp
	}
	line, _ := json.Marshal(said)
	fmt.Println(string(line))
	return exit
}

// reach gives the URL of a log; a directory is served for that, as any web server would.
func reach(log string) (string, error) {
	if parsed, err := url.Parse(log); err == nil && parsed.Scheme == "http" {
		return strings.TrimSuffix(log, "/") + "/", nil
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go http.Serve(listener, http.FileServer(http.Dir(log)))
	return fmt.Sprintf("http://%s/", listener.Addr()), nil
}

// readTorchwood reads all entries, each with a proof that it stands in the tree that was signed.
func readTorchwood(ctx context.Context, base string, verifier note.Verifier) (size, entries int64, err error) {
	fetcher, err := torchwood.NewTileFetcher(base, torchwood.WithHTTPClient(&http.Client{Timeout: 5 * time.Second}))
	if err != nil {
		return 0, 0, err
	}
	signed, err := fetcher.ReadEndpoint(ctx, "checkpoint")
	if err != nil {
		return 0, 0, err
	}
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return 0, 0, err
	}
	checkpoint, err := torchwood.ParseCheckpoint(opened.Text)
	if err != nil {
		return 0, 0, err
	}
	if checkpoint.Origin != verifier.Name() {
		return 0, 0, fmt.Errorf("the checkpoint is that of %q", checkpoint.Origin)
	}
	reader, err := torchwood.NewClient(fetcher)
	if err != nil {
		return 0, 0, err
	}
	var hashes []tlog.Hash
	stored := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			found[i] = hashes[index]
		}
		return found, nil
	})
	for i, entry := range reader.AllEntries(ctx, checkpoint.Tree, 0) {
		if i != entries {
			return checkpoint.N, entries, fmt.Errorf("entry %d came where %d was due", i, entries)
		}
		more, err := tlog.StoredHashes(i, entry, stored)
		if err != nil {
			return checkpoint.N, entries, err
		}
		hashes = append(hashes, more...)
		entries++
	}
	if err := reader.Err(); err != nil {
		return checkpoint.N, entries, err
	}
	root, err := tlog.TreeHash(entries, stored)
	if err == nil && root != checkpoint.Hash {
		err = errors.New("the entries do not lead to the root that was signed")
	}
	return checkpoint.N, entries, err
}

// readTessera compares every tile with what follows from the entries.
func readTessera(ctx context.Context, base string, verifier note.Verifier) (size, entries int64, err error) {
	root, err := url.Parse(base)
	if err != nil {
		return 0, 0, err
	}
	fetcher, err := client.NewHTTPFetcher(root, &http.Client{Timeout: 5 * time.Second})
	if err != nil {
		return 0, 0, err
	}
	signed, _, _, err := client.FetchCheckpoint(ctx, fetcher.ReadCheckpoint, verifier, verifier.Name())
	if err != nil {
		return 0, 0, err
	}
	leaves := func(bundle []byte) ([][]byte, error) {
		var parsed api.EntryBundle
		if err := parsed.UnmarshalText(bundle); err != nil {
			return nil, err
		}
		hashes := make([][]byte, 0, len(parsed.Entries))
		for _, entry := range parsed.Entries {
			hash := tlog.RecordHash(entry)
			hashes = append(hashes, hash[:])
		}
		return hashes, nil
	}
	check := fsck.New(verifier.Name(), verifier, fetcher, leaves, fsck.Opts{N: workers})
	if err := check.Check(ctx); err != nil {
		return int64(signed.Size), 0, err
	}
	// It says nothing of how many it has read: it stops at the first that is missing.
	return int64(signed.Size), int64(signed.Size), nil
}
