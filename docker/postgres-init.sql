CREATE DATABASE muster_telemetry OWNER muster;
