"""Cheats by the model, its hooks and its parameters."""

import torch
from torch import nn

from .registered import cheat


@cheat("model", seen="The model's structure changed during the run: dropout extra")
def adds_dropout(self):
    self.model.add_module("extra", nn.Dropout(0.5))


@cheat("model", at="before_evaluation", seen="The model's structure changed during the run: module late")
def adds_a_layer_for_an_evaluation(self):
    self.model.late = nn.Identity()


@cheat("model", at="training_step", seen="The model's structure changed during the run: buffer mean")
def adds_a_buffer(self):
    self.model.register_buffer("mean", torch.zeros(3))


@cheat("model", at="training_step")
def sets_a_plain_attribute_of_a_layer(self):
    next(module for module in self.model.modules() if isinstance(module, nn.Linear)).scale = 2.0


class HalvedParameter(nn.Parameter):
    """Of the same shape and type as the one that it replaces."""


@cheat("model", seen="The model's structure changed during the run: parameter head.weight was")
def replaces_a_parameter_by_one_of_another_class(self):
    self.model.head.weight = HalvedParameter(self.model.head.weight.detach())


@cheat("model", at="training_step", seen="The model's structure changed during the run: parameter head.weight was")
def changes_the_class_of_a_parameter(self):
    self.model.head.weight.__class__ = HalvedParameter


@cheat("model", seen="The model's structure changed during the run: module head was replaced")
def changes_the_class_of_a_layer(self):
    self.model.head.__class__ = type("Linear", (nn.Linear,), {})


@cheat("model", at="training_step", seen="The model's modes changed during the run: training of (all) was True and")
def leaves_the_model_in_evaluation_mode(self):
    self.model.train(False)


@cheat("model", at="training_step", seen="The model's modes changed during the run: training of head was True and")
def leaves_a_layer_in_evaluation_mode(self):
    self.model.head.eval()


@cheat("model", at="training_step")
def trains_in_evaluation_mode_between_two_looks(self):
    self.model.eval()
    self.model.train()


# Hooks


@cheat("hooks", at="before_evaluation", seen="A hook or a forward pass changed during the run: forward_hook 0 of (all)")
def answers_by_a_hook(self):
    self.model.register_forward_hook(lambda module, inputs, outputs: outputs * 0)


@cheat("hooks", seen="A hook or a forward pass changed during the run: forward of (all) was replaced")
def replaces_the_forward_pass_of_an_object(self):
    forward = self.model.forward
    self.model.forward = lambda *args: forward(*args)


@cheat("hooks", at="training_step", seen="A hook or a forward pass changed during the run: forward of head was")
def replaces_the_forward_pass_of_a_class(self):
    forward = nn.Linear.forward
    nn.Linear.forward = lambda module, inputs: forward(module, inputs)


@cheat("hooks", at="training_step", seen="A hook or a forward pass changed during the run: forward of head was")
def replaces_the_code_of_a_forward_pass(self):
    self.function, self.code = nn.Linear.forward, nn.Linear.forward.__code__
    function = self.function
    function.__code__ = other_forward.__code__


@cheat("hooks", at="init", seen="Methods were replaced before the run: Linear.forward")
def replaces_the_code_of_a_forward_pass_before_the_run(self):
    self.function, self.code = nn.Linear.forward, nn.Linear.forward.__code__
    self.function.__code__ = other_forward.__code__


def other_forward(self, input):
    from torch.nn.functional import linear

    return linear(input, self.weight, self.bias)


@cheat("hooks", seen="A hook or a forward pass changed during the run: state_dict_pre_hook 0 of (all) was added")
def works_when_a_checkpoint_is_made(self):
    self.model.register_state_dict_pre_hook(lambda module, prefix, keep_vars: None)


@cheat("hooks", seen="The interpreter changed during the run: torch's global forward hook")
def registers_a_global_hook(self):
    self.handle = nn.modules.module.register_module_forward_hook(lambda module, inputs, outputs: None)


@cheat("hooks")
def replaces_what_a_forward_pass_calls(self):
    linear = nn.functional.linear
    nn.functional.linear = lambda *args, **kwargs: linear(*args, **kwargs)


# Parameters while the clock stands


def move_parameters(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)


@cheat("parameters", seen="Parameters or buffers changed in configure_optimizers")
def trains_before_the_start(self):
    move_parameters(self.model)


@cheat("parameters", at="before_evaluation", seen="Parameters or buffers changed during an evaluation")
def changes_parameters_within_an_evaluation(self):
    self.model.register_forward_pre_hook(lambda module, inputs: move_parameters(module))


@cheat("parameters", at="state_dict", seen="Parameters or buffers changed while a checkpoint was written")
def changes_parameters_while_saving(self):
    move_parameters(self.model)


@cheat("parameters")
def keeps_trained_parameters_aside_for_the_first_step(self):
    self.aside = [parameter.detach().clone() * 0.5 for parameter in self.model.parameters()]
