package memstore

import "hash/fnv"

// A node is the root of a tree of keys in order. Trees are never changed: put and
// remove return another one that shares most nodes with the old one, so a snapshot
// costs nothing. The tree is a treap: a heap by priority, which is a hash of the
// key, so its depth does not depend on the order of writes.
type node struct {
	key         string
	val         []byte
	priority    uint32
	left, right *node
}

func priority(key string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return h.Sum32() * 2654435769 // the last bytes of keys that differ there only
}

func (n *node) get(key string) []byte {
	for n != nil {
		switch {
		case key < n.key:
			n = n.left
		case key > n.key:
			n = n.right
		default:
			return n.val
		}
	}
	return nil
}

// seek returns the first node whose key is greater than or equal to key, or nil.
func (n *node) seek(key string) (found *node) {
	for n != nil {
		if n.key < key {
			n = n.right
		} else {
			found, n = n, n.left
		}
	}
	return found
}

// split returns the tree of the keys before key, and the tree of the keys after it.
func (n *node) split(key string) (less, greater *node) {
	switch {
	case n == nil:
		return nil, nil
	case key < n.key:
		less, rest := n.left.split(key)
		return less, n.with(rest, n.right)
	case key > n.key:
		rest, greater := n.right.split(key)
		return n.with(n.left, rest), greater
	}
	return n.left, n.right
}

func (n *node) with(left, right *node) *node {
	return &node{n.key, n.val, n.priority, left, right}
}

// join joins two trees. All keys of the first come before those of the second.
func join(less, greater *node) *node {
	switch {
	case less == nil:
		return greater
	case greater == nil:
		return less
	case less.priority > greater.priority:
		return less.with(less.left, join(less.right, greater))
	}
	return greater.with(join(less, greater.left), greater.right)
}

func (n *node) put(key string, val []byte) *node {
	less, greater := n.split(key)
	return join(join(less, &node{key: key, val: val, priority: priority(key)}), greater)
}

func (n *node) remove(key string) *node {
	less, greater := n.split(key)
	return join(less, greater)
}
