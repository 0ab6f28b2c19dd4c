// The part of the ABI of libibverbs.so.1 that this package uses, declared by hand so that the default build needs no
// package of the system. The layout has been stable since IBVERBS_1.1. testdata/abi.c compares it with the real header.
#ifndef RINGTREE_VERBS_ABI_H
#define RINGTREE_VERBS_ABI_H

#include <stddef.h>
#include <stdint.h>

struct rt_device;
struct rt_pd;
struct rt_qp;
struct rt_cq;
struct rt_context;

union rt_gid {
	uint8_t raw[16];
	struct { uint64_t subnet_prefix, interface_id; } global;
};

struct rt_mr {
	struct rt_context *context;
	struct rt_pd *pd;
	void *addr;
	size_t length;
	uint32_t handle, lkey, rkey;
};

struct rt_sge {
	uint64_t addr;
	uint32_t length, lkey;
};

struct rt_send_wr {
	uint64_t wr_id;
	struct rt_send_wr *next;
	struct rt_sge *sg_list;
	int num_sge;
	uint32_t opcode;
	unsigned int send_flags;
	union { uint32_t imm_data, invalidate_rkey; };
	union {
		struct { uint64_t remote_addr; uint32_t rkey; } rdma;
		struct { uint64_t remote_addr, compare_add, swap; uint32_t rkey; } atomic;
		struct { void *ah; uint32_t remote_qpn, remote_qkey; } ud;
	} wr;
	union { struct { uint32_t remote_srqn; } xrc; } qp_type;
	union {
		struct { void *mw; uint32_t rkey; struct { void *mr; uint64_t addr, length; unsigned int access; } bind_info; } bind_mw;
		struct { void *hdr; uint16_t hdr_sz, mss; } tso;
	} tail;
};

struct rt_recv_wr {
	uint64_t wr_id;
	struct rt_recv_wr *next;
	struct rt_sge *sg_list;
	int num_sge;
};

struct rt_wc {
	uint64_t wr_id;
	uint32_t status, opcode, vendor_err, byte_len;
	union { uint32_t imm_data, invalidated_rkey; };
	uint32_t qp_num, src_qp;
	unsigned int wc_flags;
	uint16_t pkey_index, slid;
	uint8_t sl, dlid_path_bits;
};

struct rt_context_ops {
	void *before[11];
	int (*poll_cq)(struct rt_cq *, int, struct rt_wc *);
	int (*req_notify_cq)(struct rt_cq *, int);
	void *between[12];
	int (*post_send)(struct rt_qp *, struct rt_send_wr *, struct rt_send_wr **);
	int (*post_recv)(struct rt_qp *, struct rt_recv_wr *, struct rt_recv_wr **);
	void *behind[5];
};

struct rt_context {
	struct rt_device *device;
	struct rt_context_ops ops;
	int cmd_fd, async_fd, num_comp_vectors;
};

struct rt_comp_channel {
	struct rt_context *context;
	int fd, refcnt;
};

struct rt_cq {
	struct rt_context *context;
	struct rt_comp_channel *channel;
	void *cq_context;
	uint32_t handle;
	int cqe;
};

struct rt_qp {
	struct rt_context *context;
	void *qp_context;
	struct rt_pd *pd;
	struct rt_cq *send_cq, *recv_cq;
	void *srq;
	uint32_t handle, qp_num, state, qp_type;
};

struct rt_qp_cap {
	uint32_t max_send_wr, max_recv_wr, max_send_sge, max_recv_sge, max_inline_data;
};

struct rt_qp_init_attr {
	void *qp_context;
	struct rt_cq *send_cq, *recv_cq;
	void *srq;
	struct rt_qp_cap cap;
	uint32_t qp_type;
	int sq_sig_all;
};

struct rt_global_route {
	union rt_gid dgid;
	uint32_t flow_label;
	uint8_t sgid_index, hop_limit, traffic_class;
};

struct rt_ah_attr {
	struct rt_global_route grh;
	uint16_t dlid;
	uint8_t sl, src_path_bits, static_rate, is_global, port_num;
};

struct rt_qp_attr {
	uint32_t qp_state, cur_qp_state, path_mtu, path_mig_state, qkey, rq_psn, sq_psn, dest_qp_num;
	unsigned int qp_access_flags;
	struct rt_qp_cap cap;
	struct rt_ah_attr ah_attr, alt_ah_attr;
	uint16_t pkey_index, alt_pkey_index;
	uint8_t en_sqd_async_notify, sq_draining, max_rd_atomic, max_dest_rd_atomic, min_rnr_timer, port_num, timeout, retry_cnt,
		rnr_retry, alt_port_num, alt_timeout;
	uint32_t rate_limit;
};

// ibv_query_port of IBVERBS_1.1 fills what comes before flags.
struct rt_port_attr {
	uint32_t state, max_mtu, active_mtu;
	int gid_tbl_len;
	uint32_t port_cap_flags, max_msg_sz, bad_pkey_cntr, qkey_viol_cntr;
	uint16_t pkey_tbl_len, lid, sm_lid;
	uint8_t lmc, max_vl_num, sm_sl, subnet_timeout, init_type_reply, active_width, active_speed, phys_state, link_layer, flags;
	uint16_t port_cap_flags2;
	uint32_t active_speed_ex;
};

struct rt_async_event {
	union { void *cq, *qp, *srq, *wq; int port_num; } element;
	uint32_t event_type;
};

enum {
	RT_WR_RDMA_WRITE = 0, RT_WR_RDMA_WRITE_WITH_IMM = 1, RT_WR_RDMA_READ = 4,
	RT_SEND_SIGNALED = 1 << 1, RT_SEND_INLINE = 1 << 3,
	RT_WC_RECV_RDMA_WITH_IMM = 129,
	RT_QPT_RC = 2,
	RT_QPS_INIT = 1, RT_QPS_RTR = 2, RT_QPS_RTS = 3, RT_QPS_ERR = 6,
	RT_QP_STATE = 1 << 0, RT_QP_ACCESS_FLAGS = 1 << 3, RT_QP_PKEY_INDEX = 1 << 4, RT_QP_PORT = 1 << 5, RT_QP_AV = 1 << 7,
	RT_QP_PATH_MTU = 1 << 8, RT_QP_TIMEOUT = 1 << 9, RT_QP_RETRY_CNT = 1 << 10, RT_QP_RNR_RETRY = 1 << 11, RT_QP_RQ_PSN = 1 << 12,
	RT_QP_MAX_QP_RD_ATOMIC = 1 << 13, RT_QP_MIN_RNR_TIMER = 1 << 15, RT_QP_SQ_PSN = 1 << 16, RT_QP_MAX_DEST_RD_ATOMIC = 1 << 17,
	RT_QP_DEST_QPN = 1 << 20,
	RT_ACCESS_LOCAL_WRITE = 1, RT_ACCESS_REMOTE_WRITE = 1 << 1, RT_ACCESS_REMOTE_READ = 1 << 2,
	RT_PORT_ACTIVE = 4, RT_LINK_LAYER_INFINIBAND = 1, RT_LINK_LAYER_ETHERNET = 2,
	RT_EVENT_DEVICE_FATAL = 8, RT_EVENT_PORT_ACTIVE = 9, RT_EVENT_PORT_ERR = 10,
	RT_WC_SUCCESS = 0, RT_WC_WR_FLUSH_ERR = 5, RT_WC_REM_ACCESS_ERR = 10, RT_WC_RETRY_EXC_ERR = 12,
};

#endif
