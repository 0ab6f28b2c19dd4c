package membership

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

var errNodeList = errors.New("is no list of nodes")

// maxNodeList bounds a list of nodes in characters.
const maxNodeList = 1 << 20

// expandNodes returns the first limit nodes of Slurm's short form, in which gpu[01-03,07]-ib,login stands for gpu01-ib,
// gpu02-ib, gpu03-ib, gpu07-ib and login. A name may have several brackets; the last one counts fastest.
func expandNodes(list string, limit int) ([]string, error) {
	if len(list) > maxNodeList {
		return nil, errNodeList
	}
	var nodes []string
	for list != "" && len(nodes) < limit {
		// The name ends at a comma outside brackets.
		end, depth := len(list), 0
		for i, c := range list {
			switch {
			case c == '[':
				depth++
			case c == ']':
				depth--
			case c == ',' && depth == 0:
				end = i
			}
			if depth < 0 || depth > 1 {
				return nil, errNodeList
			}
			if end == i {
				break
			}
		}
		if depth != 0 && end == len(list) {
			return nil, errNodeList
		}
		more, err := expandName(list[:end], limit-len(nodes))
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, more...)
		list = strings.TrimPrefix(list[end:], ",")
	}
	if len(nodes) == 0 {
		return nil, errNodeList
	}
	return nodes, nil
}

// expandName expands one name, all its brackets.
func expandName(name string, limit int) ([]string, error) {
	head, rest, ok := strings.Cut(name, "[")
	if !ok {
		if name == "" || len(name) > 253 {
			return nil, errNodeList
		}
		return []string{name}, nil
	}
	inside, tail, ok := strings.Cut(rest, "]")
	if !ok || strings.Count(tail, "[") > 4 {
		return nil, errNodeList
	}
	tails := []string{""}
	if tail != "" {
		var err error
		if tails, err = expandName(tail, limit); err != nil {
			return nil, err
		}
	}
	var nodes []string
	for part := range strings.SplitSeq(inside, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		lo, err1 := strconv.ParseUint(first, 10, 32)
		hi, err2 := strconv.ParseUint(last, 10, 32)
		if err1 != nil || err2 != nil || hi < lo {
			return nil, errNodeList
		}
		for n := lo; n <= hi; n++ {
			for _, t := range tails {
				if len(nodes) == limit {
					return nodes, nil
				}
				nodes = append(nodes, fmt.Sprintf("%s%0*d%s", head, len(first), n, t))
			}
		}
	}
	return nodes, nil
}
