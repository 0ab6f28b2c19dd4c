package membership

// treeFan is how many others a member hands the table to.
const treeFan = 4

// treeParent returns who hands the table to member i of m, or -1 for the first one, who gets it from the coordinator. A
// member is responsible for a contiguous range that begins with itself and cuts the rest of it into treeFan parts of
// about equal size, whose first members are its children: as members of a host follow each other, most of the table's
// way is within hosts. The depth is logarithmic.
func treeParent(i, m int) int {
	lo, hi, parent := 0, m, -1
	for i != lo {
		parent = lo
		rest := hi - lo - 1
		// Part k of the rest begins at rest*k/treeFan; find the one that i is in.
		at := i - lo - 1
		k := (at*treeFan + treeFan - 1) / rest
		for k > 0 && rest*k/treeFan > at {
			k--
		}
		for k+1 < treeFan && rest*(k+1)/treeFan <= at {
			k++
		}
		lo, hi = lo+1+rest*k/treeFan, lo+1+rest*(k+1)/treeFan
	}
	return parent
}
