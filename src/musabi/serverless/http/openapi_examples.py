"""Requests and answers as they look, for the description of the HTTP interface."""

from typing import Any

JOB = "5f3d9c1e-7c1d-4a53-9a5e-0d2b8f6f4a11"
OTHER_JOB = "a2b8e1d4-9c35-4f7a-8f6d-61c2b7e90d53"
SUCCESS = {
    "status": "success",
    "job_id": JOB,
    "model_type": "qwen",
    "model_name": "Qwen Image",
    "epochs_completed": 100,
    "latest_epoch": "epoch100",
    "output": {
        "download_url": "https://huggingface.co/username/my-lora/resolve/main/adapter_model.safetensors?download=true",
        "safetensors_url": "https://huggingface.co/username/my-lora/resolve/main/adapter_model.safetensors?download=true",
        "repo_url": "https://huggingface.co/username/my-lora",
        "download_method": "huggingface",
        "expires_in_days": None,
        "archive_size_mb": None,
        "network_volume_path": None,
        "note": "Direct download link for your trained LoRA safetensors file",
    },
}
PROGRESS = {
    "phase": "training",
    "message": "Training epoch 42 of 100...",
    "progress": 41.7,
    "epoch": 42,
    "epochs": 100,
    "step": 417,
    "steps": 1000,
    "loss": 0.0912,
    "eta_s": 803.0,
    "t": 1780000000.0,
}
REQUESTS: dict[str, Any] = {
    "Qwen Image": {
        "input": {
            "model_type": "qwen",
            "dataset": {
                "type": "precaptioned",
                "images_url": "https://your-storage.com/my_dataset.zip",
                "trigger_word": "ohwx person",
            },
            "training": {"epochs": 100, "lora_rank": 32, "save_every_n_epochs": 20},
            "output": {
                "method": "huggingface",
                "huggingface": {
                    "token": "env:MUSABI_SECRET_HF",
                    "repo_id": "your-username/my-lora",
                    "private": True,
                },
            },
        }
    },
    "Flux, captions made here": {
        "input": {
            "model_type": "flux",
            "dataset": {
                "type": "images",
                "images_url": "https://example.com/raw_images.zip",
                "trigger_word": "ohwx person",
            },
            "training": {"epochs": 80, "lora_rank": 32},
            "api_keys": {"huggingface_token": "hf_xxx_for_flux_download"},
            "output": {
                "method": "huggingface",
                "huggingface": {"token": "hf_xxx_for_upload", "repo_id": "user/flux-lora"},
            },
        }
    },
    "Wan 14B, videos, a day at most, with a webhook": {
        "input": {
            "model_type": "wan14b_t2v",
            "dataset": {
                "type": "precaptioned",
                "videos_url": "https://example.com/videos.zip",
                "video_repeats": 10,
            },
            "training": {
                "epochs": 200,
                "learning_rate": 1e-05,
                "lora_rank": 64,
                "save_every_n_epochs": 25,
                "gradient_accumulation_steps": 8,
                "video_clip_mode": "multiple_overlapping",
                "frame_buckets": [1, 17, 33, 49],
            },
            "output": {
                "method": "s3",
                "s3": {
                    "endpoint_url": "https://account.r2.cloudflarestorage.com",
                    "bucket": "my-bucket",
                    "region": "auto",
                    "access_key": "env:MUSABI_SECRET_S3_ID",
                    "secret_key": "env:MUSABI_SECRET_S3_KEY",
                    "key_prefix": "lora-outputs",
                },
            },
        },
        "policy": {"executionTimeout": 86_400_000},
        "webhook": "https://example.com/hooks/lora",
    },
}
RETRY: dict[str, Any] = {
    "as it was": {},
    "with its token again": {"input": {"output": {"huggingface": {"token": "hf_xxx"}}}},
}
ANSWERS: dict[str, dict[str, Any]] = {
    "Submitted": {"it waits": {"id": JOB, "status": "IN_QUEUE"}},
    "Status": {
        "it goes on": {
            "id": JOB,
            "status": "IN_PROGRESS",
            "delayTime": 1200,
            "executionTime": 734000,
            "output": PROGRESS,
        },
        "it went well": {
            "id": JOB,
            "status": "COMPLETED",
            "delayTime": 1200,
            "executionTime": 1834000,
            "output": SUCCESS,
        },
        "it failed": {
            "id": JOB,
            "status": "FAILED",
            "delayTime": 1200,
            "executionTime": 3100,
            "error": "Description of what went wrong",
            "output": {"status": "failed", "error": "Description of what went wrong"},
        },
    },
    "Jobs": {
        "two jobs, and older ones": {
            "jobs": [
                {
                    "id": OTHER_JOB,
                    "status": "IN_QUEUE",
                    "model": "flux",
                    "method": "s3",
                    "destination": "my-bucket/lora-outputs",
                    "created": 1780000100.0,
                },
                {
                    "id": JOB,
                    "status": "IN_PROGRESS",
                    "model": "qwen",
                    "method": "huggingface",
                    "destination": "username/my-lora",
                    "created": 1780000000.0,
                    "started": 1780000001.2,
                    "seconds": 734.0,
                    "progress": PROGRESS,
                },
            ],
            "next": 41,
        }
    },
    "Stream": {
        "": {
            "status": "IN_PROGRESS",
            "stream": [
                {"output": {"phase": "training", "message": "Training epoch 42 of 100...", "t": 1780000000.0}}
            ],
        }
    },
    "Purged": {"": {"removed": 2, "status": "completed"}},
    "Health": {
        "": {
            "jobs": {"completed": 12, "failed": 1, "inProgress": 1, "inQueue": 3, "retried": 0},
            "workers": {
                "idle": 0,
                "initializing": 0,
                "ready": 0,
                "running": 1,
                "throttled": 0,
                "unhealthy": 0,
            },
        }
    },
}
