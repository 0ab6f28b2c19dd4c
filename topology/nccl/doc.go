// Package nccl reads and writes the XML in which NCCL describes the inside of a host: what NCCL_TOPO_DUMP_FILE gives and
// NCCL_TOPO_FILE takes.
//
// A [System] is the tree of the file, with every attribute in its place, so that [System.MarshalText] gives back what [Parse]
// read, but for blanks and comments. [System.GPUs] and [System.NICs] say what is in it, [System.Distance] how a GPU reaches a NIC,
// and [System.Spec] makes hosts of the kind into a description for package topology.
//
//	<system version="1">
//	  <cpu numaid="0" affinity="00000000,0000ffff" arch="x86_64" vendor="GenuineIntel" familyid="6" modelid="143">
//	    <pci busid="0000:17:00.0" class="0x060400" link_speed="32.0 GT/s PCIe" link_width="16">
//	      <pci busid="0000:19:00.0" class="0x030200" link_speed="32.0 GT/s PCIe" link_width="16">
//	        <gpu dev="0" sm="90" rank="0" gdr="1">
//	          <nvlink target="0000:03:00.0" count="18" tclass="0x068000"/>
//	        </gpu>
//	      </pci>
//	      <pci busid="0000:18:00.0" class="0x020700" link_speed="32.0 GT/s PCIe" link_width="16">
//	        <nic>
//	          <net name="mlx5_0" dev="0" speed="400000" port="1" latency="0.000000" gdr="1"/>
//	        </nic>
//	      </pci>
//	    </pci>
//	  </cpu>
//	</system>
package nccl
