"""Checkpoints of transformers, lightning, stable-baselines3, ultralytics, fastai, timm, diffusers, accelerate.

    ENVIRONMENT/bin/python benchmarks/real_models/from_misc.py FOLDER

Runs in an environment of the frameworks', Python 3.7 or later; nothing of the project is imported. No network.
"""

# ruff: noqa - a long list of tries, each of which may fail in one version or another

import os, sys, warnings, traceback

warnings.filterwarnings("ignore")
os.environ["HF_HUB_OFFLINE"] = "1"
out = sys.argv[1]
os.makedirs(out, exist_ok=True)
import torch, numpy as np


def tryit(n, f):
    try:
        f(os.path.join(out, n))
        print("ok", n)
    except Exception as x:
        print("no", n, repr(x)[:150])


def targs(p):
    from transformers import TrainingArguments

    torch.save(TrainingArguments(output_dir="/tmp/customhouse-real-models", report_to=[]), p)


tryit("training_args.bin", targs)


def hf(p):
    from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel

    for n, m in (
        (
            "bert",
            BertModel(
                BertConfig(
                    hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=50
                )
            ),
        ),
        ("gpt2", GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50))),
    ):
        m.save_pretrained(os.path.join(out, n))
        torch.save(m.state_dict(), p + n + ".bin")
        torch.save(m, p + n + ".whole.bin")
        torch.save(m.state_dict(), p + n + ".legacy.bin", _use_new_zipfile_serialization=False)


tryit("hf_", hf)


def trainer(p):
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

    m = BertForSequenceClassification(
        BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=50)
    )
    ds = [{"input_ids": torch.ones(4).long(), "labels": torch.tensor(1)}] * 8
    t = Trainer(
        m, TrainingArguments(output_dir=p, max_steps=2, save_steps=2, report_to=[], use_cpu=True), train_dataset=ds
    )
    t.train()


tryit("trainer", trainer)


def light(p):
    import lightning as L

    class M(L.LightningModule):
        def __init__(self, lr=0.1):
            super().__init__()
            self.save_hyperparameters()
            self.l = torch.nn.Linear(2, 1)

        def training_step(self, b, i):
            return self.l(b[0]).sum()

        def configure_optimizers(self):
            o = torch.optim.Adam(self.parameters())
            return {"optimizer": o, "lr_scheduler": torch.optim.lr_scheduler.StepLR(o, 1)}

    from lightning.pytorch.callbacks import ModelCheckpoint, EarlyStopping

    t = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=True,
        default_root_dir=p,
        callbacks=[ModelCheckpoint(dirpath=p), EarlyStopping("x", strict=False)],
    )
    t.fit(M(), torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(4, 2))))
    t.save_checkpoint(p + ".ckpt")


tryit("lightning", light)


def sb3(p):
    import gymnasium as gym
    from stable_baselines3 import PPO, DQN, A2C

    for a in (PPO, DQN, A2C):
        a("MlpPolicy", "CartPole-v1", device="cpu").save(p + a.__name__)


tryit("sb3_", sb3)


def yolo(p):
    from ultralytics import YOLO

    for n in ("yolov8n.yaml", "yolo11n.yaml", "yolov8n-cls.yaml", "yolov8n-seg.yaml"):
        m = YOLO(n)
        for q in m.model.parameters():
            q.data = q.data.flatten()[:2].clone()
        m.save(p + n + ".pt")


tryit("yolo_", yolo)


def fast(p):
    from fastai.tabular.all import TabularDataLoaders, tabular_learner, Categorify, Normalize
    import pandas as pd

    df = pd.DataFrame({"a": ["x", "y"] * 20, "b": np.random.rand(40), "y": [0, 1] * 20})
    d = TabularDataLoaders.from_df(
        df, cat_names=["a"], cont_names=["b"], y_names="y", procs=[Categorify, Normalize], bs=8
    )
    l = tabular_learner(d, layers=[4])
    l.export(p)
    torch.save(l.model, p + "model.pth")
    l.path = __import__("pathlib").Path(out)
    l.save("fa_state")


tryit("fastai.pkl", fast)


def timm_(p):
    import timm

    for n in ("resnet10t", "mobilenetv3_small_050", "vit_tiny_patch16_224", "efficientnet_lite0", "convnext_atto"):
        m = timm.create_model(n)
        for q in m.parameters():
            q.data = q.data.flatten()[:2].clone()
        torch.save(m, p + n + ".pt")
        torch.save({"state_dict": m.state_dict(), "arch": n, "epoch": 1, "metric": 0.5}, p + n + ".pth.tar")


tryit("timm_", timm_)


def diff(p):
    from diffusers import UNet2DModel, DDPMScheduler

    m = UNet2DModel(
        sample_size=8,
        block_out_channels=(32, 32),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
    )
    m.save_pretrained(p, safe_serialization=False)
    torch.save(m.state_dict(), p + ".bin")


tryit("diffusers", diff)


def accel(p):
    from accelerate import Accelerator

    a = Accelerator(cpu=True)
    m = torch.nn.Linear(2, 2)
    o = torch.optim.AdamW(m.parameters())
    m, o = a.prepare(m, o)
    a.save_state(p, safe_serialization=False)


tryit("accelerate", accel)


def dcp(p):
    import torch.distributed.checkpoint as d

    d.save({"w": torch.ones(3)}, checkpoint_id=p)


tryit("dcp", dcp)


def st(p):
    from sentence_transformers import SentenceTransformer, models
    from transformers import BertConfig, BertModel

    torch.save({"a": torch.ones(2)}, p)


tryit("st.bin", st)
