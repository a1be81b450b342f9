"""From one model to champion: final training, gate, registration, serving, prediction."""
