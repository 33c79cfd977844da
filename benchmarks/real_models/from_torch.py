"""State dicts, modules, optimisers, odd tensors, TorchScript, exports and torchvision models, in torch's formats.

    ENVIRONMENT/bin/python benchmarks/real_models/from_torch.py FOLDER

Runs in an environment of the frameworks', Python 3.7 or later; nothing of the project is imported. No network.
"""

# ruff: noqa - a long list of tries, each of which may fail in one version or another

import os, sys, io, pickle, collections, warnings

warnings.filterwarnings("ignore")
import torch, torch.nn as nn

out = sys.argv[1]
os.makedirs(out, exist_ok=True)
made = 0


def save(name, obj, **k):
    global made
    for tag, kw in (("zip", {}), ("legacy", {"_use_new_zipfile_serialization": False})):
        if torch.__version__ < "1.6" and tag == "legacy":
            continue
        for p in (2,) if tag == "legacy" else (2, 4):
            try:
                torch.save(obj, os.path.join(out, "%s.%s%d.pt" % (name, tag, p)), pickle_protocol=p, **kw)
                made += 1
            except Exception as x:
                print("cannot", name, tag, p, repr(x)[:100])


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 3)
        self.b = nn.BatchNorm1d(3)

    def forward(self, x):
        return torch.relu(self.b(self.a(x)))


seq = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
save("sd", seq.state_dict())
save("seq", seq)
save("tiny_sd", Tiny().state_dict())
for name in dir(torch.optim):
    c = getattr(torch.optim, name)
    if (
        isinstance(c, type)
        and issubclass(c, torch.optim.Optimizer)
        and c is not torch.optim.Optimizer
        and name not in ("LBFGS", "SparseAdam", "Muon")
    ):
        m = nn.Linear(3, 3)
        try:
            o = c(m.parameters(), lr=0.1)
            m(torch.ones(1, 3)).sum().backward()
            o.step()
        except Exception as x:
            print(name, x)
            continue
        save(
            "opt_" + name,
            {"model": m.state_dict(), "optimizer": o.state_dict(), "epoch": 3, "loss": 0.5, "best": torch.tensor(1.0)},
        )
        try:
            s = torch.optim.lr_scheduler.StepLR(o, 2)
            save("sched_" + name, {"s": s.state_dict(), "o": o.state_dict(), "rng": torch.get_rng_state()})
        except Exception:
            pass
for name in dir(torch.optim.lr_scheduler):
    c = getattr(torch.optim.lr_scheduler, name)
    if isinstance(c, type) and name.endswith("LR"):
        m = nn.Linear(2, 2)
        o = torch.optim.SGD(m.parameters(), lr=0.1)
        for a in ((), (3,), ([1, 2],), (0.9,), (0.1, 3)):
            try:
                s = c(o, *a)
                save("lr_" + name, s.state_dict())
                break
            except Exception:
                pass
args = {
    1: [()],
}
for name in sorted(dir(nn)):
    c = getattr(nn, name)
    if not (isinstance(c, type) and issubclass(c, nn.Module)):
        continue
    for a in (
        (),
        (2,),
        (4, 4),
        (4, 4, 1),
        (1, 4),
        (2, 2, 2),
        ([nn.Linear(2, 2)],),
        (nn.TransformerEncoderLayer(4, 2) if hasattr(nn, "TransformerEncoderLayer") else 1, 2),
        (
            4,
            [2],
        ),
    ):
        try:
            m = c(*a)
        except Exception:
            continue
        save("nn_" + name, m)
        break
dts = [
    d
    for d in (
        "float32",
        "float64",
        "float16",
        "bfloat16",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "bool",
        "complex64",
        "complex128",
        "complex32",
        "float8_e4m3fn",
        "float8_e5m2",
        "float8_e4m3fnuz",
        "float8_e5m2fnuz",
        "float8_e8m0fnu",
        "uint16",
        "uint32",
        "uint64",
        "float4_e2m1fn_x2",
    )
    if hasattr(torch, d)
]
for d in dts:
    try:
        save(
            "dt_" + d,
            {
                "w": torch.zeros(3, 4).to(getattr(torch, d))
                if not d.startswith("float4")
                else torch.zeros(3, 4, dtype=torch.uint8).view(getattr(torch, d))
            },
        )
    except Exception as x:
        print("cannot", d, repr(x)[:80])
TRY = 1
t = torch.arange(12.0).reshape(3, 4)
things = {
    "view": {"a": t, "b": t[1:], "c": t.t()},
    "param": nn.Parameter(t),
    "list": [t, t + 1],
    "size": t.shape,
    "device": torch.device("cpu"),
    "dtype": torch.float32,
    "sparse": torch.eye(3).to_sparse(),
    "empty": torch.empty(0),
    "scalar": torch.tensor(3),
    "od": collections.OrderedDict(a=t),
    "dd": collections.defaultdict(dict, {"a": {"b": t}}),
    "mixed": {
        "args": __import__("argparse").Namespace(lr=0.1, name="x"),
        "np": __import__("numpy").arange(3),
        "npf": __import__("numpy").float64(3),
        "path": __import__("pathlib").Path("a/b"),
        "when": __import__("datetime").datetime.now(),
    },
    "bn": nn.BatchNorm2d(3).state_dict(),
    "big": {"l%d" % i: torch.randn(8, 8) for i in range(300)},
    "storage": torch.randn(4),
    "grad": torch.ones(2, requires_grad=True),
    "memfmt": torch.channels_last,
    "conj": (torch.ones(2, dtype=torch.complex64).conj() if torch.__version__ >= "1.8" else t),
    "layout": torch.strided,
}


def add(n, f):
    try:
        things[n] = f()
    except Exception as x:
        print("no", n, repr(x)[:80])


add("csr", lambda: torch.eye(3).to_sparse_csr())
add("csc", lambda: torch.eye(3).to_sparse_csc())
add("bsr", lambda: torch.eye(4).to_sparse_bsr((2, 2)))
add("nested", lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]))
add("njt", lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged))
add("qint8", lambda: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8))
add("quint8", lambda: torch.quantize_per_tensor(t, 0.1, 0, torch.quint8))
add("qint32", lambda: torch.quantize_per_tensor(t, 0.1, 0, torch.qint32))
add("qchan", lambda: torch.quantize_per_channel(t, torch.ones(3), torch.zeros(3).long(), 0, torch.qint8))
add(
    "qdyn",
    lambda: torch.quantization.quantize_dynamic(
        nn.Sequential(nn.Linear(4, 4), nn.ReLU()), {nn.Linear}, dtype=torch.qint8
    ),
)
add(
    "qdyn_sd",
    lambda: torch.quantization.quantize_dynamic(
        nn.Sequential(nn.Linear(4, 4), nn.ReLU()), {nn.Linear}, dtype=torch.qint8
    ).state_dict(),
)
add("lstmq", lambda: torch.quantization.quantize_dynamic(nn.LSTM(4, 4), {nn.LSTM}, dtype=torch.qint8))
add("meta", lambda: torch.ones(2, device="meta"))
add("wn", lambda: nn.utils.weight_norm(nn.Linear(2, 2)))
add("sn", lambda: nn.utils.spectral_norm(nn.Linear(2, 2)))
add("pwn", lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)).state_dict())
add("sub", lambda: nn.Buffer(t))
add("gen", lambda: torch.Generator().get_state())
add("untyped", lambda: t.untyped_storage())
add("typed", lambda: t.storage())
add("prune", lambda: (lambda m: (torch.nn.utils.prune.l1_unstructured(m, "weight", 0.5), m)[1])(nn.Linear(3, 3)))
add("dist", lambda: torch.distributions.Normal(0.0, 1.0))
add("ema", lambda: torch.optim.swa_utils.AveragedModel(nn.Linear(2, 2)).state_dict())
add("swa", lambda: torch.optim.swa_utils.AveragedModel(nn.Linear(2, 2)))
add("ds", lambda: torch.utils.data.TensorDataset(t))
add("dp", lambda: nn.DataParallel(nn.Linear(2, 2)))
add("optobj", lambda: torch.optim.Adam(nn.Linear(2, 2).parameters()))
add("scaler", lambda: torch.cuda.amp.GradScaler(enabled=False).state_dict())
add("subl", lambda: nn.UninitializedParameter())
add("lazy", lambda: nn.LazyLinear(3))
for n, o in things.items():
    save(n, o)
    for p in (0, 2, 4) if not n.startswith(("q", "lstmq")) else ():
        try:
            b = pickle.dumps(o, p)
            open(os.path.join(out, "pk_%s.p%d.pkl" % (n, p)), "wb").write(b)
            made += 1
        except Exception:
            pass


def put(n, f):
    if torch.__version__ < "1.13" and n.startswith("q"):
        return
    global made
    try:
        f(os.path.join(out, n))
        made += 1
    except Exception as x:
        print("cannot", n, repr(x)[:150])


put("trace.pt", lambda p: torch.jit.trace(Tiny().eval(), torch.ones(2, 4)).save(p))
put("traceseq.pt", lambda p: torch.jit.trace(seq, torch.ones(1, 1, 4, 4)).save(p))
put("script.pt", lambda p: torch.jit.script(Tiny()).save(p))
put("scriptlstm.pt", lambda p: torch.jit.script(nn.LSTM(3, 3)).save(p))
put("scripttr.pt", lambda p: torch.jit.script(nn.TransformerEncoderLayer(4, 2)).save(p))
put(
    "scriptfn.pt",
    lambda p: torch.jit.script(nn.Sequential(nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1), nn.MaxPool2d(2))).save(p),
)
put("frozen.pt", lambda p: torch.jit.freeze(torch.jit.script(Tiny().eval())).save(p))
put("mobile.ptl", lambda p: torch.jit.script(Tiny().eval())._save_for_lite_interpreter(p))
put("extra.pt", lambda p: torch.jit.save(torch.jit.script(Tiny()), p, _extra_files={"config.json": '{"a": 1}'}))
put(
    "qscript.pt",
    lambda p: torch.jit.script(
        torch.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), {nn.Linear})
    ).save(p),
)
put("export.pt2", lambda p: torch.export.save(torch.export.export(Tiny().eval(), (torch.ones(2, 4),)), p))


def package(p):
    from torch.package import PackageExporter

    with PackageExporter(p) as e:
        e.extern("torch.**")
        e.save_pickle("model", "model.pkl", nn.Linear(2, 2))


put("package.pt", package)
try:
    import torchvision.models as tv

    for n in (
        "resnet18",
        "mobilenet_v2",
        "squeezenet1_0",
        "vit_b_16",
        "densenet121",
        "efficientnet_b0",
        "shufflenet_v2_x0_5",
        "googlenet",
        "alexnet",
        "vgg11",
        "convnext_tiny",
        "swin_t",
        "regnet_y_400mf",
        "mnasnet0_5",
        "inception_v3",
    ):
        with torch.device("cpu"):
            m = getattr(tv, n)(**({"init_weights": False} if n in ("googlenet", "inception_v3") else {}))
        for q in m.parameters():
            q.data = q.data[:1].clone()
        for q in list(m.buffers()):
            q.data = q.data[:1].clone() if q.dim() else q.data
        save("tv_" + n, m)
        save("tv_sd_" + n, m.state_dict())
    for n in ("fasterrcnn_mobilenet_v3_large_fpn", "ssdlite320_mobilenet_v3_large"):
        m = getattr(tv.detection, n)(weights=None, weights_backbone=None)
        for q in m.parameters():
            q.data = q.data[:1].clone()
        save("tvdet_" + n, m)
    m = tv.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)
    for q in m.parameters():
        q.data = q.data[:1].clone()
    save("tvseg", m)
    import torchvision.transforms as T

    save(
        "tvtrans",
        T.Compose(
            [
                T.Resize(3),
                T.CenterCrop(2),
                T.ToTensor(),
                T.Normalize([0.0], [1.0]),
                T.RandomHorizontalFlip(),
                T.ColorJitter(0.1),
            ]
        ),
    )
except ImportError:
    pass
print(torch.__version__, made)
