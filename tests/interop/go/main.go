// A counterpart for Parley's ledger made of Go's own libraries: golang.org/x/mod/sumdb/note and tlog, crypto/ed25519.
//
// It reads one JSON array of questions on standard input and writes one JSON array of answers: {"ok": ...} or
// {"error": ...}. Bytes are base64. x/mod knows no cosignatures; their message is built here from the specification.
package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type question struct {
	Op      string   `json:"op"`
	Text    string   `json:"text"`
	Key     string   `json:"key"`
	Public  []byte   `json:"public"`
	Seed    []byte   `json:"seed"`
	Payload []byte   `json:"payload"`
	Time    uint64   `json:"time"`
	Entries [][]byte `json:"entries"`
	Proof   [][]byte `json:"proof"`
	Old     int64    `json:"old"`
	Size    int64    `json:"size"`
	Index   int64    `json:"index"`
	OldRoot []byte   `json:"old_root"`
	Root    []byte   `json:"root"`
	Leaf    []byte   `json:"leaf"`
}

type memory struct{ hashes []tlog.Hash }

func (m *memory) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index >= int64(len(m.hashes)) {
			return nil, errors.New("no such hash")
		}
		found[i] = m.hashes[index]
	}
	return found, nil
}

func tree(entries [][]byte) (*memory, error) {
	held := &memory{}
	for index, entry := range entries {
		more, err := tlog.StoredHashes(int64(index), entry, held)
		if err != nil {
			return nil, err
		}
		held.hashes = append(held.hashes, more...)
	}
	return held, nil
}

func hash(data []byte) (h tlog.Hash) {
	copy(h[:], data)
	return h
}

func hashes(data [][]byte) []tlog.Hash {
	made := make([]tlog.Hash, len(data))
	for i, one := range data {
		made[i] = hash(one)
	}
	return made
}

func encoded(path []tlog.Hash) [][]byte {
	made := make([][]byte, len(path))
	for i := range path {
		made[i] = path[i][:]
	}
	return made
}

func cosigned(text string, time uint64) []byte {
	return []byte(fmt.Sprintf("cosignature/v1\ntime %d\n%s", time, text))
}

func answer(q question) (interface{}, error) {
	switch q.Op {
	case "note.open":
		verifier, err := note.NewVerifier(q.Key)
		if err != nil {
			return nil, err
		}
		opened, err := note.Open([]byte(q.Text), note.VerifierList(verifier))
		if err != nil {
			return nil, err
		}
		return opened.Text, nil
	case "note.sign":
		signer, err := note.NewSigner(q.Key)
		if err != nil {
			return nil, err
		}
		signed, err := note.Sign(&note.Note{Text: q.Text}, signer)
		return string(signed), err
	case "tree.root":
		held, err := tree(q.Entries)
		if err != nil {
			return nil, err
		}
		root, err := tlog.TreeHash(q.Size, held)
		return root[:], err
	case "record.prove":
		held, err := tree(q.Entries)
		if err != nil {
			return nil, err
		}
		path, err := tlog.ProveRecord(q.Size, q.Index, held)
		return encoded(path), err
	case "tree.prove":
		held, err := tree(q.Entries)
		if err != nil {
			return nil, err
		}
		path, err := tlog.ProveTree(q.Size, q.Old, held)
		return encoded(path), err
	case "record.check":
		return true, tlog.CheckRecord(hashes(q.Proof), q.Size, hash(q.Root), q.Index, hash(q.Leaf))
	case "tree.check":
		return true, tlog.CheckTree(hashes(q.Proof), q.Size, hash(q.Root), q.Old, hash(q.OldRoot))
	case "cosignature.verify":
		if len(q.Payload) != 72 {
			return nil, errors.New("expected a time and a signature")
		}
		time := binary.BigEndian.Uint64(q.Payload)
		if !ed25519.Verify(q.Public, cosigned(q.Text, time), q.Payload[8:]) {
			return nil, errors.New("the cosignature does not verify")
		}
		return time, nil
	case "cosignature.sign":
		payload := new(bytes.Buffer)
		binary.Write(payload, binary.BigEndian, q.Time)
		payload.Write(ed25519.Sign(ed25519.NewKeyFromSeed(q.Seed), cosigned(q.Text, q.Time)))
		return base64.StdEncoding.EncodeToString(payload.Bytes()), nil
	}
	return nil, errors.New("unknown question")
}

func main() {
	var questions []question
	if err := json.NewDecoder(os.Stdin).Decode(&questions); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	answers := make([]map[string]interface{}, len(questions))
	for i, q := range questions {
		value, err := answer(q)
		if err != nil {
			answers[i] = map[string]interface{}{"error": err.Error()}
		} else {
			answers[i] = map[string]interface{}{"ok": value}
		}
	}
	json.NewEncoder(os.Stdout).Encode(answers)
}
