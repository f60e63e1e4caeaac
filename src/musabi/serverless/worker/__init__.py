"""A worker of Runpod Serverless: its SDK drives the same job process."""
