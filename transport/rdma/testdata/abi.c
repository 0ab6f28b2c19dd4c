// Compares verbs_abi.h with the header of libibverbs-dev. It compiles if and only if they agree.
#include <infiniband/verbs.h>
#include "../verbs_abi.h"

#define SIZE(ours, theirs) _Static_assert(sizeof(struct ours) == sizeof(struct theirs), #ours)
#define FIELD(ours, theirs, f) \
	_Static_assert(offsetof(struct ours, f) == offsetof(struct theirs, f) && \
		sizeof(((struct ours *)0)->f) == sizeof(((struct theirs *)0)->f), #ours "." #f)
#define VALUE(ours, theirs) _Static_assert((int)ours == (int)theirs, #ours)

SIZE(rt_mr, ibv_mr);
FIELD(rt_mr, ibv_mr, lkey);
FIELD(rt_mr, ibv_mr, rkey);
SIZE(rt_sge, ibv_sge);
FIELD(rt_sge, ibv_sge, lkey);
SIZE(rt_send_wr, ibv_send_wr);
FIELD(rt_send_wr, ibv_send_wr, num_sge);
FIELD(rt_send_wr, ibv_send_wr, opcode);
FIELD(rt_send_wr, ibv_send_wr, send_flags);
FIELD(rt_send_wr, ibv_send_wr, imm_data);
FIELD(rt_send_wr, ibv_send_wr, wr.rdma.remote_addr);
FIELD(rt_send_wr, ibv_send_wr, wr.rdma.rkey);
FIELD(rt_send_wr, ibv_send_wr, qp_type);
SIZE(rt_recv_wr, ibv_recv_wr);
SIZE(rt_wc, ibv_wc);
FIELD(rt_wc, ibv_wc, status);
FIELD(rt_wc, ibv_wc, opcode);
FIELD(rt_wc, ibv_wc, vendor_err);
FIELD(rt_wc, ibv_wc, byte_len);
FIELD(rt_wc, ibv_wc, imm_data);
FIELD(rt_wc, ibv_wc, qp_num);
SIZE(rt_context_ops, ibv_context_ops);
FIELD(rt_context_ops, ibv_context_ops, poll_cq);
FIELD(rt_context_ops, ibv_context_ops, req_notify_cq);
FIELD(rt_context_ops, ibv_context_ops, post_send);
FIELD(rt_context_ops, ibv_context_ops, post_recv);
FIELD(rt_context, ibv_context, ops);
FIELD(rt_context, ibv_context, async_fd);
FIELD(rt_comp_channel, ibv_comp_channel, fd);
FIELD(rt_cq, ibv_cq, context);
FIELD(rt_cq, ibv_cq, cqe);
FIELD(rt_qp, ibv_qp, context);
FIELD(rt_qp, ibv_qp, qp_num);
SIZE(rt_qp_cap, ibv_qp_cap);
SIZE(rt_qp_init_attr, ibv_qp_init_attr);
FIELD(rt_qp_init_attr, ibv_qp_init_attr, cap);
FIELD(rt_qp_init_attr, ibv_qp_init_attr, qp_type);
SIZE(rt_global_route, ibv_global_route);
FIELD(rt_global_route, ibv_global_route, traffic_class);
SIZE(rt_ah_attr, ibv_ah_attr);
FIELD(rt_ah_attr, ibv_ah_attr, port_num);
SIZE(rt_qp_attr, ibv_qp_attr);
FIELD(rt_qp_attr, ibv_qp_attr, path_mtu);
FIELD(rt_qp_attr, ibv_qp_attr, dest_qp_num);
FIELD(rt_qp_attr, ibv_qp_attr, qp_access_flags);
FIELD(rt_qp_attr, ibv_qp_attr, ah_attr);
FIELD(rt_qp_attr, ibv_qp_attr, pkey_index);
FIELD(rt_qp_attr, ibv_qp_attr, max_rd_atomic);
FIELD(rt_qp_attr, ibv_qp_attr, min_rnr_timer);
FIELD(rt_qp_attr, ibv_qp_attr, port_num);
FIELD(rt_qp_attr, ibv_qp_attr, timeout);
FIELD(rt_qp_attr, ibv_qp_attr, retry_cnt);
FIELD(rt_qp_attr, ibv_qp_attr, rnr_retry);
FIELD(rt_port_attr, ibv_port_attr, state);
FIELD(rt_port_attr, ibv_port_attr, active_mtu);
FIELD(rt_port_attr, ibv_port_attr, gid_tbl_len);
FIELD(rt_port_attr, ibv_port_attr, lid);
FIELD(rt_port_attr, ibv_port_attr, link_layer);
_Static_assert(sizeof(struct rt_port_attr) >= sizeof(struct ibv_port_attr), "rt_port_attr");
SIZE(rt_async_event, ibv_async_event);
FIELD(rt_async_event, ibv_async_event, event_type);
_Static_assert(sizeof(union rt_gid) == sizeof(union ibv_gid), "rt_gid");

VALUE(RT_WR_RDMA_WRITE, IBV_WR_RDMA_WRITE);
VALUE(RT_WR_RDMA_WRITE_WITH_IMM, IBV_WR_RDMA_WRITE_WITH_IMM);
VALUE(RT_WR_RDMA_READ, IBV_WR_RDMA_READ);
VALUE(RT_SEND_SIGNALED, IBV_SEND_SIGNALED);
VALUE(RT_SEND_INLINE, IBV_SEND_INLINE);
VALUE(RT_WC_RECV_RDMA_WITH_IMM, IBV_WC_RECV_RDMA_WITH_IMM);
VALUE(RT_QPT_RC, IBV_QPT_RC);
VALUE(RT_QPS_INIT, IBV_QPS_INIT);
VALUE(RT_QPS_RTR, IBV_QPS_RTR);
VALUE(RT_QPS_RTS, IBV_QPS_RTS);
VALUE(RT_QPS_ERR, IBV_QPS_ERR);
VALUE(RT_QP_STATE, IBV_QP_STATE);
VALUE(RT_QP_ACCESS_FLAGS, IBV_QP_ACCESS_FLAGS);
VALUE(RT_QP_PKEY_INDEX, IBV_QP_PKEY_INDEX);
VALUE(RT_QP_PORT, IBV_QP_PORT);
VALUE(RT_QP_AV, IBV_QP_AV);
VALUE(RT_QP_PATH_MTU, IBV_QP_PATH_MTU);
VALUE(RT_QP_TIMEOUT, IBV_QP_TIMEOUT);
VALUE(RT_QP_RETRY_CNT, IBV_QP_RETRY_CNT);
VALUE(RT_QP_RNR_RETRY, IBV_QP_RNR_RETRY);
VALUE(RT_QP_RQ_PSN, IBV_QP_RQ_PSN);
VALUE(RT_QP_MAX_QP_RD_ATOMIC, IBV_QP_MAX_QP_RD_ATOMIC);
VALUE(RT_QP_MIN_RNR_TIMER, IBV_QP_MIN_RNR_TIMER);
VALUE(RT_QP_SQ_PSN, IBV_QP_SQ_PSN);
VALUE(RT_QP_MAX_DEST_RD_ATOMIC, IBV_QP_MAX_DEST_RD_ATOMIC);
VALUE(RT_QP_DEST_QPN, IBV_QP_DEST_QPN);
VALUE(RT_ACCESS_LOCAL_WRITE, IBV_ACCESS_LOCAL_WRITE);
VALUE(RT_ACCESS_REMOTE_WRITE, IBV_ACCESS_REMOTE_WRITE);
VALUE(RT_ACCESS_REMOTE_READ, IBV_ACCESS_REMOTE_READ);
VALUE(RT_PORT_ACTIVE, IBV_PORT_ACTIVE);
VALUE(RT_LINK_LAYER_INFINIBAND, IBV_LINK_LAYER_INFINIBAND);
VALUE(RT_LINK_LAYER_ETHERNET, IBV_LINK_LAYER_ETHERNET);
VALUE(RT_EVENT_DEVICE_FATAL, IBV_EVENT_DEVICE_FATAL);
VALUE(RT_EVENT_PORT_ACTIVE, IBV_EVENT_PORT_ACTIVE);
VALUE(RT_EVENT_PORT_ERR, IBV_EVENT_PORT_ERR);
VALUE(RT_WC_SUCCESS, IBV_WC_SUCCESS);
VALUE(RT_WC_WR_FLUSH_ERR, IBV_WC_WR_FLUSH_ERR);
VALUE(RT_WC_REM_ACCESS_ERR, IBV_WC_REM_ACCESS_ERR);
VALUE(RT_WC_RETRY_EXC_ERR, IBV_WC_RETRY_EXC_ERR);

// The functions that are loaded by name have these types.
static struct ibv_device **(*get_device_list)(int *) = ibv_get_device_list;
static int (*query_gid)(struct ibv_context *, uint8_t, int, union ibv_gid *) = ibv_query_gid;
static struct ibv_mr *(*reg_dmabuf_mr)(struct ibv_pd *, uint64_t, size_t, uint64_t, int, int) = ibv_reg_dmabuf_mr;
static struct ibv_comp_channel *(*create_comp_channel)(struct ibv_context *) = ibv_create_comp_channel;
static int (*get_cq_event)(struct ibv_comp_channel *, struct ibv_cq **, void **) = ibv_get_cq_event;
static void (*ack_cq_events)(struct ibv_cq *, unsigned int) = ibv_ack_cq_events;
static struct ibv_cq *(*create_cq)(struct ibv_context *, int, void *, struct ibv_comp_channel *, int) = ibv_create_cq;
static struct ibv_qp *(*create_qp)(struct ibv_pd *, struct ibv_qp_init_attr *) = ibv_create_qp;
static int (*modify_qp)(struct ibv_qp *, struct ibv_qp_attr *, int) = ibv_modify_qp;
static int (*get_async_event)(struct ibv_context *, struct ibv_async_event *) = ibv_get_async_event;
static void (*ack_async_event)(struct ibv_async_event *) = ibv_ack_async_event;
