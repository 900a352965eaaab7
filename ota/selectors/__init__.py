"""What the second floor can be asked. Nothing here writes, and nothing looks beyond one domain."""
