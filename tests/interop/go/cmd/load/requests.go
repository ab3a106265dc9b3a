package main

import (
	"bytes"
	"encoding/binary"
	"sort"
	"strconv"
)

// kind is what can be called.
type kind struct {
	method string
	stream bool
	encode func(number uint64, size, batch int) []byte
}

var kinds = map[string]kind{
	"add_word":          {method: "/Example/AddWord", encode: addWord},
	"add_words":         {method: "/Example/AddWords", stream: true, encode: addWords},
	"get_words":         {method: "/Example/GetWords", encode: func(uint64, int, int) []byte { return nil }},
	"get_words_latest":  {method: "/Example/GetWords", encode: func(uint64, int, int) []byte { return []byte{1<<3 | 0, 1} }},
	"echo":              {method: "/Echo/Unary", encode: addWord},
	"etcd_put":          {method: "/etcdserverpb.KV/Put", encode: etcdPut},
	"etcd_range":        {method: "/etcdserverpb.KV/Range", encode: func(uint64, int, int) []byte { return field(nil, 1, []byte("key")) }},
	"etcd_range_serial": {method: "/etcdserverpb.KV/Range", encode: func(uint64, int, int) []byte { return append(field(nil, 1, []byte("key")), 7<<3|0, 1) }},
}

func names() []string {
	var all []string
	for name := range kinds {
		all = append(all, name)
	}
	sort.Strings(all)
	return all
}

// value is number, padded or cut to size bytes.
func value(number uint64, size int) []byte {
	digits := strconv.FormatUint(number, 10)
	if len(digits) >= size {
		return []byte(digits[len(digits)-size:])
	}
	return append(bytes.Repeat([]byte{'0'}, size-len(digits)), digits...)
}

// field appends a field of bytes to a message.
func field(message []byte, number int, value []byte) []byte {
	var length [binary.MaxVarintLen64]byte
	message = append(message, byte(number<<3|2))
	message = append(message, length[:binary.PutUvarint(length[:], uint64(len(value)))]...)
	return append(message, value...)
}

func addWord(number uint64, size, _ int) []byte { return field(nil, 1, value(number, size)) }

func addWords(number uint64, size, batch int) []byte {
	var message []byte
	for each := 0; each < batch; each++ {
		message = field(message, 1, value(number+uint64(each), size))
	}
	return message
}

// etcdPut writes to one of a thousand keys, so that the log grows and the data does not.
func etcdPut(number uint64, size, _ int) []byte {
	return field(field(nil, 1, value(number%1000, 8)), 2, value(number, size))
}
