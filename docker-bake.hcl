// docker buildx bake: the images that are published. `docker buildx bake --print` shows what it would do.
variable "IMAGE" {
  default = "gemneye/musabi-runpod"
}

// Tags with commas between them; those of all but `slim` get an ending.
variable "TAGS" {
  default = "dev"
}

variable "VERSION" {
  default = "dev"
}

variable "REVISION" {
  default = "unknown"
}

variable "MUSUBI_REF" {
  default = "v0.3.4"
}

// May be pinned by its digest: runpod/base:...@sha256:...
variable "BASE_IMAGE" {
  default = "runpod/base:1.0.3-cuda1290-ubuntu2404"
}

group "default" {
  targets = ["slim", "full", "serverless"]
}

target "common" {
  dockerfile = "Dockerfile"
  platforms  = ["linux/amd64"]
  args = {
    BASE_IMAGE = BASE_IMAGE
    MUSUBI_REF = MUSUBI_REF
    VERSION    = VERSION
    REVISION   = REVISION
  }
}

target "slim" {
  inherits = ["common"]
  target   = "slim"
  tags     = [for tag in split(",", TAGS) : "${IMAGE}:${tag}"]
}

target "full" {
  inherits = ["common"]
  target   = "full"
  tags     = [for tag in split(",", TAGS) : "${IMAGE}:${tag}-full"]
}

target "cpu" {
  inherits = ["common"]
  target   = "cpu"
  tags     = [for tag in split(",", TAGS) : "${IMAGE}:${tag}-cpu"]
}

target "serverless" {
  inherits = ["common"]
  target   = "serverless"
  tags     = [for tag in split(",", TAGS) : "${IMAGE}:${tag}-serverless"]
}

// The worker for flux and sdxl. Not in the default group: it is about 14 GB larger.
target "serverless-diffusion-pipe" {
  inherits = ["serverless"]
  args = {
    DIFFUSION_PIPE = "1"
  }
  tags = [for tag in split(",", TAGS) : "${IMAGE}:${tag}-serverless-diffusion-pipe"]
}
