// What the Go side calls. libibverbs.so.1 is loaded at run time; its fast paths are functions of the device's
// provider, called through the context as the inline functions of its own header do.
#ifndef RINGTREE_VERBS_SHIM_H
#define RINGTREE_VERBS_SHIM_H

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "verbs_abi.h"

static struct {
	struct rt_device **(*get_device_list)(int *);
	void (*free_device_list)(struct rt_device **);
	const char *(*get_device_name)(struct rt_device *);
	struct rt_context *(*open_device)(struct rt_device *);
	int (*close_device)(struct rt_context *);
	int (*query_port)(struct rt_context *, uint8_t, struct rt_port_attr *);
	int (*query_gid)(struct rt_context *, uint8_t, int, union rt_gid *);
	struct rt_pd *(*alloc_pd)(struct rt_context *);
	int (*dealloc_pd)(struct rt_pd *);
	struct rt_mr *(*reg_mr)(struct rt_pd *, void *, size_t, int);
	int (*dereg_mr)(struct rt_mr *);
	struct rt_comp_channel *(*create_comp_channel)(struct rt_context *);
	int (*destroy_comp_channel)(struct rt_comp_channel *);
	struct rt_cq *(*create_cq)(struct rt_context *, int, void *, struct rt_comp_channel *, int);
	int (*destroy_cq)(struct rt_cq *);
	int (*get_cq_event)(struct rt_comp_channel *, struct rt_cq **, void **);
	void (*ack_cq_events)(struct rt_cq *, unsigned int);
	struct rt_qp *(*create_qp)(struct rt_pd *, struct rt_qp_init_attr *);
	int (*destroy_qp)(struct rt_qp *);
	int (*modify_qp)(struct rt_qp *, struct rt_qp_attr *, int);
	int (*get_async_event)(struct rt_context *, struct rt_async_event *);
	void (*ack_async_event)(struct rt_async_event *);
	struct rt_mr *(*reg_dmabuf_mr)(struct rt_pd *, uint64_t, size_t, uint64_t, int, int); // optional: IBVERBS_1.12, rdma-core 34
} rt_lib;

// rt_load loads the library, or says in err what is missing.
static int rt_load(char *err, size_t size) {
	static const struct { const char *name, *version; size_t at; int optional; } symbols[] = {
#define RT_SYMBOL(name, version, optional) {"ibv_" #name, version, offsetof(__typeof__(rt_lib), name), optional}
		RT_SYMBOL(get_device_list, "IBVERBS_1.1", 0), RT_SYMBOL(free_device_list, "IBVERBS_1.1", 0),
		RT_SYMBOL(get_device_name, "IBVERBS_1.1", 0), RT_SYMBOL(open_device, "IBVERBS_1.1", 0),
		RT_SYMBOL(close_device, "IBVERBS_1.1", 0), RT_SYMBOL(query_port, "IBVERBS_1.1", 0),
		RT_SYMBOL(query_gid, "IBVERBS_1.1", 0), RT_SYMBOL(alloc_pd, "IBVERBS_1.1", 0), RT_SYMBOL(dealloc_pd, "IBVERBS_1.1", 0),
		RT_SYMBOL(reg_mr, "IBVERBS_1.1", 0), RT_SYMBOL(dereg_mr, "IBVERBS_1.1", 0),
		RT_SYMBOL(create_comp_channel, "IBVERBS_1.0", 0), RT_SYMBOL(destroy_comp_channel, "IBVERBS_1.0", 0),
		RT_SYMBOL(create_cq, "IBVERBS_1.1", 0), RT_SYMBOL(destroy_cq, "IBVERBS_1.1", 0),
		RT_SYMBOL(get_cq_event, "IBVERBS_1.1", 0), RT_SYMBOL(ack_cq_events, "IBVERBS_1.1", 0),
		RT_SYMBOL(create_qp, "IBVERBS_1.1", 0), RT_SYMBOL(destroy_qp, "IBVERBS_1.1", 0), RT_SYMBOL(modify_qp, "IBVERBS_1.1", 0),
		RT_SYMBOL(get_async_event, "IBVERBS_1.1", 0), RT_SYMBOL(ack_async_event, "IBVERBS_1.1", 0),
		RT_SYMBOL(reg_dmabuf_mr, "IBVERBS_1.12", 1),
#undef RT_SYMBOL
	};
	void *lib = dlopen("libibverbs.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!lib) {
		snprintf(err, size, "%s", dlerror());
		return -1;
	}
	for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
		void *f = dlvsym(lib, symbols[i].name, symbols[i].version);
		if (!f && !symbols[i].optional) {
			snprintf(err, size, "libibverbs.so.1 has no %s of version %s", symbols[i].name, symbols[i].version);
			dlclose(lib);
			return -1;
		}
		*(void **)((char *)&rt_lib + symbols[i].at) = f;
	}
	return 0;
}

static struct rt_device **rt_devices(int *n) { return rt_lib.get_device_list(n); }
static void rt_free_devices(struct rt_device **l) { rt_lib.free_device_list(l); }
static const char *rt_device_name(struct rt_device *d) { return rt_lib.get_device_name(d); }

static int rt_open(struct rt_device *d, struct rt_context **c, struct rt_pd **pd) {
	errno = 0;
	if (!(*c = rt_lib.open_device(d)))
		return errno ? errno : ENODEV;
	if (!(*pd = rt_lib.alloc_pd(*c))) {
		int e = errno ? errno : ENOMEM;
		rt_lib.close_device(*c);
		return e;
	}
	return 0;
}

static void rt_close(struct rt_context *c, struct rt_pd *pd) {
	rt_lib.dealloc_pd(pd);
	rt_lib.close_device(c);
}

static int rt_query_port(struct rt_context *c, int port, struct rt_port_attr *a) {
	memset(a, 0, sizeof *a);
	return rt_lib.query_port(c, port, a);
}
static int rt_query_gid(struct rt_context *c, int port, int i, union rt_gid *g) { return rt_lib.query_gid(c, port, i, g); }

static int rt_reg(struct rt_pd *pd, uint64_t addr, size_t n, int access, struct rt_mr **mr) {
	errno = 0;
	*mr = rt_lib.reg_mr(pd, (void *)(uintptr_t)addr, n, access);
	return *mr ? 0 : errno ? errno : ENOMEM;
}
static int rt_reg_dmabuf(struct rt_pd *pd, uint64_t offset, size_t n, uint64_t iova, int fd, int access, struct rt_mr **mr) {
	if (!rt_lib.reg_dmabuf_mr)
		return ENOSYS;
	errno = 0;
	*mr = rt_lib.reg_dmabuf_mr(pd, offset, n, iova, fd, access);
	return *mr ? 0 : errno ? errno : ENOMEM;
}
static int rt_dereg(struct rt_mr *mr) { return rt_lib.dereg_mr(mr); }

static int rt_create_cq(struct rt_context *c, int depth, struct rt_comp_channel **ch, struct rt_cq **cq) {
	errno = 0;
	if (!(*ch = rt_lib.create_comp_channel(c)))
		return errno ? errno : ENOMEM;
	if (!(*cq = rt_lib.create_cq(c, depth, 0, *ch, 0))) {
		int e = errno ? errno : ENOMEM;
		rt_lib.destroy_comp_channel(*ch);
		return e;
	}
	return 0;
}
static void rt_destroy_cq(struct rt_comp_channel *ch, struct rt_cq *cq) {
	rt_lib.destroy_cq(cq);
	rt_lib.destroy_comp_channel(ch);
}
static int rt_arm(struct rt_cq *cq) { return cq->context->ops.req_notify_cq(cq, 0); }

// rt_take_event takes an event if there is one: the channel does not block.
static int rt_take_event(struct rt_comp_channel *ch) {
	struct rt_cq *cq;
	void *context;
	if (rt_lib.get_cq_event(ch, &cq, &context))
		return 0;
	rt_lib.ack_cq_events(cq, 1);
	return 1;
}
static int rt_take_async(struct rt_context *c, int *type, int *port) {
	struct rt_async_event e;
	if (rt_lib.get_async_event(c, &e))
		return 0;
	*type = e.event_type;
	*port = e.element.port_num;
	rt_lib.ack_async_event(&e);
	return 1;
}

// A completion as Go reads it.
struct rt_done {
	uint64_t id;
	uint32_t status, imm, length, qp, vendor, immediate;
};

static int rt_poll(struct rt_cq *cq, struct rt_done *out, int n) {
	struct rt_wc wc[32];
	int got = cq->context->ops.poll_cq(cq, n < 32 ? n : 32, wc);
	for (int i = 0; i < got; i++) {
		out[i].id = wc[i].wr_id;
		out[i].status = wc[i].status;
		out[i].imm = wc[i].imm_data;
		out[i].length = wc[i].byte_len;
		out[i].qp = wc[i].qp_num;
		out[i].vendor = wc[i].vendor_err;
		out[i].immediate = wc[i].status == RT_WC_SUCCESS && wc[i].opcode == RT_WC_RECV_RDMA_WITH_IMM;
	}
	return got;
}

static int rt_create_qp(struct rt_pd *pd, struct rt_cq *cq, uint32_t sends, uint32_t receives, uint32_t *inlined, struct rt_qp **qp, uint32_t *number) {
	// What a device takes inline is known only by asking.
	static const uint32_t tries[] = {512, 256, 128, 0};
	int e = 0;
	for (int i = 0; i < 4; i++) {
		if (i && tries[i] >= *inlined && tries[i])
			continue;
		struct rt_qp_init_attr a;
		memset(&a, 0, sizeof a);
		a.send_cq = a.recv_cq = cq;
		a.qp_type = RT_QPT_RC;
		a.cap.max_send_wr = sends;
		a.cap.max_recv_wr = receives;
		a.cap.max_send_sge = 2;
		a.cap.max_recv_sge = 1;
		a.cap.max_inline_data = tries[i] < *inlined ? tries[i] : *inlined;
		errno = 0;
		if ((*qp = rt_lib.create_qp(pd, &a))) {
			if (a.cap.max_inline_data < *inlined)
				*inlined = a.cap.max_inline_data;
			*number = (*qp)->qp_num;
			return 0;
		}
		e = errno ? errno : ENOMEM;
	}
	return e;
}
static int rt_destroy_qp(struct rt_qp *qp) { return rt_lib.destroy_qp(qp); }

static int rt_qp_init(struct rt_qp *qp, int port, int pkey, int allowed) {
	struct rt_qp_attr a;
	memset(&a, 0, sizeof a);
	a.qp_state = RT_QPS_INIT;
	a.port_num = port;
	a.pkey_index = pkey;
	a.qp_access_flags = allowed;
	return rt_lib.modify_qp(qp, &a, RT_QP_STATE | RT_QP_PKEY_INDEX | RT_QP_PORT | RT_QP_ACCESS_FLAGS);
}

// What a queue pair has to know of the other end and of the path.
struct rt_route {
	union rt_gid gid;
	uint32_t qpn, psn_in, psn_out;
	uint16_t lid;
	uint8_t global, sgid, hops, traffic_class, service_level, port, mtu, timeout, retries;
};

static int rt_qp_connect(struct rt_qp *qp, const struct rt_route *r) {
	struct rt_qp_attr a;
	int e;
	memset(&a, 0, sizeof a);
	a.qp_state = RT_QPS_RTR;
	a.path_mtu = r->mtu;
	a.dest_qp_num = r->qpn;
	a.rq_psn = r->psn_in;
	a.max_dest_rd_atomic = 1;
	a.min_rnr_timer = 12;
	a.ah_attr.dlid = r->lid;
	a.ah_attr.sl = r->service_level;
	a.ah_attr.port_num = r->port;
	a.ah_attr.is_global = r->global;
	if (r->global) {
		a.ah_attr.grh.dgid = r->gid;
		a.ah_attr.grh.sgid_index = r->sgid;
		a.ah_attr.grh.hop_limit = r->hops;
		a.ah_attr.grh.traffic_class = r->traffic_class;
	}
	e = rt_lib.modify_qp(qp, &a, RT_QP_STATE | RT_QP_AV | RT_QP_PATH_MTU | RT_QP_DEST_QPN | RT_QP_RQ_PSN |
		RT_QP_MAX_DEST_RD_ATOMIC | RT_QP_MIN_RNR_TIMER);
	if (e)
		return e;
	memset(&a, 0, sizeof a);
	a.qp_state = RT_QPS_RTS;
	a.timeout = r->timeout;
	a.retry_cnt = r->retries;
	a.rnr_retry = 7;
	a.sq_psn = r->psn_out;
	a.max_rd_atomic = 1;
	return rt_lib.modify_qp(qp, &a, RT_QP_STATE | RT_QP_TIMEOUT | RT_QP_RETRY_CNT | RT_QP_RNR_RETRY | RT_QP_SQ_PSN | RT_QP_MAX_QP_RD_ATOMIC);
}
static int rt_qp_reset(struct rt_qp *qp) {
	struct rt_qp_attr a;
	memset(&a, 0, sizeof a);
	a.qp_state = RT_QPS_ERR;
	return rt_lib.modify_qp(qp, &a, RT_QP_STATE);
}

static int rt_post_receives(struct rt_qp *qp, uint64_t id, int n) {
	for (int i = 0; i < n; i++) {
		struct rt_recv_wr w = {.wr_id = id}, *bad;
		int e = qp->context->ops.post_recv(qp, &w, &bad);
		if (e)
			return e;
	}
	return 0;
}

// A write as Go fills it: one or two pieces to one place.
struct rt_write {
	uint64_t id, head, body, to;
	uint32_t head_length, body_length, head_key, body_key, to_key, imm, flags, with_imm;
};

static int rt_post_write(struct rt_qp *qp, const struct rt_write *w) {
	struct rt_sge sge[2] = {{w->head, w->head_length, w->head_key}, {w->body, w->body_length, w->body_key}};
	struct rt_send_wr wr, *bad;
	memset(&wr, 0, sizeof wr);
	wr.wr_id = w->id;
	wr.sg_list = sge;
	wr.num_sge = w->body_length ? 2 : w->head_length ? 1 : 0;
	wr.opcode = w->with_imm ? RT_WR_RDMA_WRITE_WITH_IMM : RT_WR_RDMA_WRITE;
	wr.send_flags = w->flags;
	wr.imm_data = w->imm;
	wr.wr.rdma.remote_addr = w->to;
	wr.wr.rdma.rkey = w->to_key;
	return qp->context->ops.post_send(qp, &wr, &bad);
}

// rt_post_read reads a byte, which moves what was stored before it to where it belongs.
static int rt_post_read(struct rt_qp *qp, uint64_t id, uint64_t into, uint32_t into_key, uint64_t from, uint32_t from_key) {
	struct rt_sge sge = {into, 1, into_key};
	struct rt_send_wr wr, *bad;
	memset(&wr, 0, sizeof wr);
	wr.wr_id = id;
	wr.sg_list = &sge;
	wr.num_sge = 1;
	wr.opcode = RT_WR_RDMA_READ;
	wr.send_flags = RT_SEND_SIGNALED;
	wr.wr.rdma.remote_addr = from;
	wr.wr.rdma.rkey = from_key;
	return qp->context->ops.post_send(qp, &wr, &bad);
}

#endif
